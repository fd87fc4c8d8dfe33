"""Run the command line in this process: the same code without the seconds that a new one takes."""

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import onnx
import pytest

from graphopt import cli


class Answer(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What stdout holds: one JSON document."""
        return json.loads(self.out)


Graphopt = Callable[..., Answer]


@pytest.fixture
def graphopt(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Graphopt:
    """A function that runs ``graphopt ARGUMENTS``."""

    def run(*arguments: object) -> Answer:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["graphopt", *map(str, arguments)])
        monkeypatch.setattr(signal, "signal", lambda *_: None)  # the handler would outlive the test
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert isinstance(stop.value.code, int)
        return Answer(stop.value.code, *capsys.readouterr())

    return run


@pytest.fixture
def write_model(tmp_path: Path) -> Callable[[str, str], Path]:
    """A function that writes a model given as ONNX text."""

    def write(text: str, name: str) -> Path:
        onnx.save(onnx.parser.parse_model(text), tmp_path / name)
        return tmp_path / name

    return write
