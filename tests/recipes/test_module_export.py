"""Networks of a user's own: his file, his errors, his names."""

import json
from pathlib import Path

import numpy as np
import pytest

from graphopt.core.artefacts import Artefact
from graphopt.core.errors import CheckpointError, ExportError, OutputError, UsageError
from graphopt.core.golden import read_golden
from graphopt.core.onnx_files import load_model
from graphopt.recipes.module_export import export_user_module
from graphopt.recipes.module_request import parse_request

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.torch

NET = """
import torch
from neighbour_of_net import double

print("hello")


class Net(torch.nn.Module):
    def __init__(self, classes=5):
        super().__init__()
        self.head = torch.nn.Linear(3, classes)
        self.drop = torch.nn.Dropout(0.5)

    def forward(self, image):
        x = double(image)
        logits = self.head(self.drop(x).mean((2, 3)))
        return {"logits": logits, "maps": [x, x + 1], "none": None}


class Text(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(11, 4)

    def forward(self, ids, mask, scale=None):
        x = self.embedding(ids) * mask.unsqueeze(-1)
        return x.sum(1), x if scale is None else x * scale


class Same(torch.nn.Module):
    def forward(self, output):
        return torch.relu(output)


class Shape(torch.nn.Module):
    def forward(self, x):
        return inner(x)


class Grid(torch.nn.Module):
    def forward(self, x):
        grid = torch.zeros(x.shape[0], 2, 2, 2)
        return torch.nn.functional.grid_sample(x, grid, align_corners=False)


class Fourier(torch.nn.Module):
    def forward(self, x):
        return torch.fft.fft(x).real


class Words(torch.nn.Module):
    def forward(self, x):
        return "words"


def inner(x):
    return x @ torch.ones(7, 2)


def build():
    torch.manual_seed(0)
    return Net()


def needs(classes):
    return Net(classes)


def number():
    return 3


def fails():
    return Net("many")


ready = Same()
"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "neighbour_of_net.py").write_text("def double(x):\n    return x * 2\n")
    (folder / "net.py").write_text(NET)
    return folder / "net.py"


def export(net: Path, build: str, *shapes: str, **options: object) -> Artefact:
    folder = net.parent / str(options.pop("folder", "bundle"))
    data = options.pop("data", None)
    request = parse_request(f"{net}:{build}", shapes=shapes, **options)  # type: ignore[arg-type]
    return export_user_module(request, folder, data=data)  # type: ignore[arg-type]


def described(artefact: Artefact) -> list[tuple[str, str]]:
    return [(spec.name, spec.shape_text) for spec in (*artefact.inputs, *artefact.outputs)]


def test_answers_in_a_dict_give_the_names_and_open_sizes_are_followed(net: Path) -> None:
    artefact = export(net, "build", "image=1x3x6x8", dynamic=["image:0=batch", "image:3=width"])
    assert described(artefact) == [
        ("image", "[batch, 3, 6, width]"),
        ("logits", "[batch, 5]"),
        ("maps_0", "[batch, 3, 6, width]"),
        ("maps_1", "[batch, 3, 6, width]"),
    ]
    model = load_model(artefact.path)
    assert "head.weight" in model.graph.initializers
    (feeds, answers), _ = read_golden(artefact.path.parent)
    np.testing.assert_array_equal(np.asarray(answers["maps_0"]), np.asarray(feeds["image"], np.float32) * 2)
    manifest = json.loads((artefact.path.parent / "manifest.json").read_text())
    assert manifest["settings"]["module"]["build"] == "build"
    assert manifest["settings"]["module"]["file"] == "net.py"


def test_several_inputs_token_ids_and_an_optional_one_left_out(net: Path) -> None:
    artefact = export(net, "Text", "mask=2x7", "ids=2x7", dtypes=["ids=int64"])
    assert described(artefact)[:2] == [("ids", "[2, 7]"), ("mask", "[2, 7]")]
    assert [spec.name for spec in artefact.outputs] == ["output_0", "output_1"]
    assert artefact.inputs[0].dtype == "int64"


def test_names_of_the_users_own_and_a_module_that_is_ready(net: Path) -> None:
    assert described(export(net, "ready", "x=2x3")) == [("x", "[2, 3]"), ("output", "[2, 3]")]


def test_an_output_never_has_the_name_of_an_input(net: Path) -> None:
    assert described(export(net, "Same", "output=2x3")) == [("output", "[2, 3]"), ("output_out", "[2, 3]")]


def test_one_name_is_one_size(net: Path) -> None:
    with pytest.raises(UsageError, match="n is 7 in one input and 8 in mask"):
        export(net, "Text", "ids=1x7", "mask=1x8", dtypes=["ids=int64"], dynamic=["ids:1=n", "mask:1=n"])


def test_made_up_integers_are_said_to_be(net: Path) -> None:
    net.write_text(NET.replace("Embedding(11, 4)", "Embedding(2, 4)"))
    with pytest.raises(ExportError, match=r"(?s)integers were made up, see --data failed.*IndexError"):
        export(net, "Text", "ids=1x7", "mask=1x7", dtypes=["ids=int64"])


def test_data_gives_the_golden_inputs(net: Path, tmp_path: Path) -> None:
    net.write_text(NET.replace("Embedding(11, 4)", "Embedding(1, 4)"))
    np.savez(tmp_path / "data.npz", ids=np.zeros((1, 7), np.int64), mask=np.ones((1, 7), np.float32))
    options = {"dtypes": ["ids=int64"], "dynamic": ["ids:0=n", "mask:0=n"], "data": tmp_path / "data.npz"}
    export(net, "Text", "ids=1x7", "mask=1x7", **options)
    (feeds, _), *_ = read_golden(net.parent / "bundle")
    assert int(feeds["ids"].max()) == 0


def test_a_checkpoint_is_loaded_and_its_keys_are_checked(net: Path, tmp_path: Path) -> None:
    weights = {"head.weight": torch.full((5, 3), 2.0), "head.bias": torch.zeros(5)}
    torch.save({"model": weights}, tmp_path / "good.pth")
    artefact = export(net, "Net", "image=1x3x4x4", checkpoint=tmp_path / "good.pth", key="model")
    weight = load_model(artefact.path).graph.initializers["head.weight"].const_value
    assert weight is not None
    assert float(weight.numpy().max()) == 2.0
    torch.save({"state_dict": {"head.wight": torch.zeros(5, 3)}}, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match=r"does not fit Net: 2 missing \(head\.weight"):
        export(net, "Net", "image=1x3x4x4", checkpoint=tmp_path / "bad.pth", folder="other")


@pytest.mark.parametrize(
    ("build", "shapes", "message"),
    [
        ("buld", ["image=1"], "no 'buld'; did you mean build"),
        ("number", ["image=1"], "number gives int, not a torch.nn.Module"),
        ("needs", ["image=1"], "needs wants classes; write a function"),
        ("NET", ["image=1"], "has no 'NET'"),
        ("build", [], r"takes image: give the shape of each, e\.g\. --shape image="),
        ("build", ["image=1x3x4x4", "other=1"], "2 shapes are too many"),
        ("Text", ["ids=1x7"], "--shape is missing for mask"),
        ("Text", ["ids=1x7", "scale=1"], "--shape is missing for mask"),
        ("Text", ["tokens=1x7"], "give --shape for ids, mask"),
        ("Text", ["ids=1x7", "mak=1x7"], "takes ids, mask, scale, not mak; did you mean mask"),
    ],
)
def test_bad_requests_are_explained(net: Path, build: str, shapes: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        export(net, build, *shapes)
    assert not (net.parent / "bundle").exists()


def test_failing_code_is_shown_with_its_own_lines_only(net: Path) -> None:
    with pytest.raises(ExportError) as caught:
        export(net, "fails", "image=1")
    lines = str(caught.value).splitlines()
    assert lines[0] == f"fails() of {net} failed:"
    assert [line.split(":")[0].strip() for line in lines[1:-1]] == ["net.py", "net.py"]
    with pytest.raises(
        ExportError, match=r"(?s)forward of Shape on x float32 \[1, 4\] failed:.*in inner.*shapes"
    ):
        export(net, "Shape", "x=1x4")
    with pytest.raises(ExportError, match="returns a str"):
        export(net, "Words", "x=1x4")


def test_a_file_that_cannot_be_read_is_named_with_the_line(net: Path) -> None:
    net.write_text("import torch\n\ndef build(:\n")
    with pytest.raises(ExportError, match=r"(?s)reading .*net\.py:3: def build\(:.*SyntaxError"):
        export(net, "build", "x=1")
    net.write_text("import no_such_package_anywhere\n")
    with pytest.raises(ExportError, match=r"(?s)net\.py:1.*no_such_package_anywhere"):
        export(net, "build", "x=1")
    with pytest.raises(UsageError, match=r"missing\.py does not exist"):
        export(net.with_name("missing.py"), "build", "x=1")


def test_an_operator_of_a_newer_opset_is_named(net: Path) -> None:
    with pytest.raises(ExportError, match=r"cannot export aten::grid_sampler at opset 11; .* --opset 16"):
        export(net, "Grid", "x=1x3x4x4")
    assert described(export(net, "Grid", "x=1x3x4x4", opset=16))[1] == ("output", "[1, 3, 2, 2]")


def test_an_operator_that_no_opset_has_is_named(net: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ExportError, match="cannot export aten::fft_fft at opset 11; write it with other"):
        export(net, "Fourier", "x=1x4")
    assert capfd.readouterr().out == ""  # torch prints its graph there


def test_an_existing_folder_is_kept_before_any_code_runs(
    net: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (net.parent / "bundle").mkdir()
    with pytest.raises(OutputError, match="exists; use --force"):
        export(net, "build", "image=1x3x4x4")
    assert "hello" not in capsys.readouterr().err


def test_what_the_code_prints_is_no_result_and_its_neighbours_are_forgotten(
    net: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    path = list(sys.path)
    export(net, "build", "image=1x3x4x4")
    assert capsys.readouterr().out == ""
    assert "neighbour_of_net" not in sys.modules
    assert sys.path == path
