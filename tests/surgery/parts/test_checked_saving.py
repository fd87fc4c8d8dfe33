import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from graphopt.core.errors import InvalidModelError
from graphopt.core.onnx_files import load_model
from graphopt.surgery.parts.checked_saving import checked_model

GOOD = '<ir_version: 8, opset_import: ["" : 13]> g (float[3] x) => (float[3] y) { y = Exp (x) }'
ODD = GOOD.replace("Exp (x)", "NoSuchOperator (x)")


def test_what_the_checker_refuses_is_not_written(
    write_text: Callable[[str, str], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good, odd = write_text(GOOD, "good.onnx"), write_text(ODD, "odd.onnx")
    model = load_model(odd)
    out = tmp_path / "out.onnx"
    with (
        pytest.raises(InvalidModelError, match=r"the ONNX checker refuses the result: .*NoSuchOperator"),
        checked_model(model, out, sources=[good], force=False),
    ):
        raise AssertionError
    assert not out.exists()
    with caplog.at_level(logging.WARNING), checked_model(model, out, sources=[good, odd], force=False):
        pass
    assert "and a source too" in caplog.text
    assert out.exists()
