from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

pytestmark = pytest.mark.torch

NET = """
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)

    def forward(self, image):
        return {"map": torch.relu(self.conv(image)), "none": None}


def build():
    torch.manual_seed(3)
    return Net()
"""


def test_the_bundle_goes_through_the_other_verbs(graphopt: Any, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    out = tmp_path / "out"
    command = ("export", "module", f"{tmp_path / 'net.py'}:build", "--shape", "image=1x3x8x8", "-o", out)
    answer = graphopt(*command, "--dynamic", "image:0=batch", "--json")
    assert answer.code == 0, answer.err
    assert answer.json["module"]["build"] == "build"
    again = graphopt(*command)
    assert (again.code, "exists; use --force" in again.err) == (2, True)
    assert graphopt("apply", out / "model.onnx", "--preset", "clean").code == 0
    torch_stage = f"torch:{tmp_path / 'net.py'}:build"
    answer = graphopt("validate", torch_stage, out / "model.onnx", out / "model.opt.onnx")
    assert answer.code == 0, answer.err
    wrong = graphopt("validate", torch_stage.replace(":build", ":Net"), out / "model.onnx")
    assert wrong.code == 1, wrong.err  # other random weights
    foreign = tmp_path / "foreign.onnx"
    foreign.write_bytes((out / "model.onnx").read_bytes())
    answer = graphopt("validate", torch_stage, foreign)
    assert (answer.code, "those of its export" in answer.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("export", "modul", "net.py:Net"), "did you mean module"),
        (("export", "module"), "Missing argument 'FILE:BUILD'"),
        (("export", "module", "net.py:Net"), "does not exist"),
        (("export", "deepmra"), "did you mean deepmar"),
    ],
)
def test_bad_usage_is_explained(graphopt: Any, arguments: tuple[str, ...], message: str) -> None:
    answer = graphopt(*arguments)
    assert answer.code == 2
    assert message in answer.err
