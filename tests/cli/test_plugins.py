"""A user's own passes and recipes on the command line: ``--plugin``, paths, ``graphopt.toml``."""

import hashlib
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import onnx_ir as ir
import pytest

from graphopt import cli
from graphopt.core.lineage import read_lineage
from graphopt.core.onnx_files import load_model

GRAPH = """
<ir_version: 8, opset_import: ["" : 13]>
agraph (float[1,3,5,7] x) => (float[1,3,5,7] y) <float one = {1}>
{
    [Conv_0] a = Sigmoid (x)
    [Mul_1] b = Mul (a, one)
    [Relu_2] y = Relu (b)
}
"""

PASS = '''
from dataclasses import dataclass
from typing import ClassVar

from graphopt.surgery import Declined, GraphPass, Site
from graphopt.surgery.graph_edits import bypass
from graphopt.surgery.graph_queries import constant_of, nodes_of


@dataclass(frozen=True, kw_only=True)
class DropMulByOne(GraphPass):
    """Remove multiplications by one.

    Why: they cost time.  Before: ``x -> Mul(1)``.  After: ``x``.

    Attributes:
        limit: largest distance from one.
    """

    name: ClassVar[str] = "drop_mul_by_one"
    limit: float = 0.0

    def sites(self, model):
        for node in nodes_of(model, "Mul"):
            factor = constant_of(node.inputs[1])
            if factor is None:
                yield Declined(node=node, why="the factor is computed at run time")
            elif abs(factor - 1).max() <= self.limit:
                yield Site(node=node, what="removed")

    def rewrite(self, model, site):
        bypass(model, site.node)
'''

RECIPE = """
from graphopt.core.comparison import Tolerance
from graphopt.core.tensors import TensorSpec
from graphopt.recipes.recipe import Recipe
from graphopt.surgery import PassStep

RECIPE = Recipe(
    name="my_model",
    title="A model of mine",
    inputs=(TensorSpec(name="x", shape=(1, 3, 5, 7), dtype="float32"),),
    outputs=(TensorSpec(name="y", shape=(1, 3, 5, 7), dtype="float32"),),
    passes=(PassStep("drop_mul_by_one", expect=1),),
    tolerance=Tolerance(atol=1e-5, rtol=1e-5, why="float32"),
)
"""


class Done(NamedTuple):
    code: int
    out: str
    err: str


Call = Callable[..., Done]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a model, a pass and a recipe."""
    ir.save(ir.from_onnx_text(GRAPH), tmp_path / "m.onnx")
    (tmp_path / "drop_mul_by_one.py").write_text(PASS)
    (tmp_path / "my_model.py").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def call(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command line in ``folder``, in this process."""
    del folder

    def run(*arguments: object) -> Done:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["graphopt", *map(str, arguments)])
        monkeypatch.setattr(signal, "signal", lambda *_: None)
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return Done(int(stop.value.code or 0), *capsys.readouterr())

    return run


APPLY = ("apply", "m.onnx", "--passes", "drop_mul_by_one", "-o", "out.onnx")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--plugin", "drop_mul_by_one.py", *APPLY),
        (*APPLY, "--plugin", "drop_mul_by_one.py"),
        ("apply", "m.onnx", "--passes", "./drop_mul_by_one.py:limit=0.1:expect=1", "-o", "out.onnx"),
    ],
)
def test_a_pass_is_used_proven_and_recorded_like_any_other(
    call: Call, folder: Path, arguments: tuple[object, ...]
) -> None:
    done = call(*arguments)
    assert done.code == 0, done.err
    assert "verification: proven" in done.out
    digest = hashlib.sha256(PASS.encode()).hexdigest()
    assert [(step.name, step.plugin) for step in read_lineage(load_model(folder / "out.onnx"))] == [
        ("drop_mul_by_one", digest)
    ]
    sidecar = json.loads((folder / "out.onnx.json").read_text())
    assert sidecar["settings"]["passes"][0]["plugin"] == digest
    assert digest[:12] in call("inspect", "out.onnx").out


def test_without_the_plugin_the_pass_is_unknown_and_the_option_is_named(call: Call) -> None:
    done = call(*APPLY)
    assert done.code == 2
    assert "unknown pass 'drop_mul_by_one'" in done.err
    assert "--plugin FILE.py" in done.err


def test_far_from_every_name_the_list_is_not_poured_out(call: Call) -> None:
    done = call("passes", "zzz")
    assert done.code == 2
    assert "'graphopt passes' lists all" in done.err
    assert len(done.err) < 200


def test_a_file_of_that_name_in_the_folder_is_offered(call: Call) -> None:
    assert "drop_mul_by_one.py is here: --plugin drop_mul_by_one.py" in call(*APPLY).err


def test_an_unfinished_pass_does_not_hide_what_others_would_do(call: Call, folder: Path) -> None:
    text = PASS.replace("bypass(model, site.node)", 'raise NotImplementedError("not yet")')
    (folder / "drop_mul_by_one.py").write_text(text)
    done = call("--plugin", "drop_mul_by_one.py", "passes", "--would-apply", "m.onnx", "--json")
    assert done.code == 0, done.err
    found = {item["pass"]: item["first"] for item in json.loads(done.out)["would_apply"]}
    assert found["drop_mul_by_one"] == "NotImplementedError: not yet"
    assert found["remove_pad"] == ""


def test_doctor_names_the_project_file_and_runs_nothing(call: Call, folder: Path) -> None:
    (folder / "graphopt.toml").write_text('plugins = ["broken.py"]')
    done = call("doctor")
    assert done.code == 0
    assert "graphopt.toml: plugins broken.py" in done.out


def test_passes_shows_a_file_and_what_would_apply(call: Call) -> None:
    done = call("passes", "./drop_mul_by_one.py")
    assert done.code == 0
    assert "Remove multiplications by one." in done.out
    assert "limit" in done.out
    done = call("passes", "./drop_mul_by_one.py", "--would-apply", "m.onnx", "--json")
    assert json.loads(done.out)["would_apply"][0]["sites"] == 1
    assert "drop_mul_by_one.py" in call("--plugin", "drop_mul_by_one.py", "passes").out


def test_a_listed_plugin_is_found_from_below_and_announced(
    call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "graphopt.toml").write_text('plugins = ["drop_mul_by_one.py", "my_model.py"]')
    below = folder / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    done = call("apply", "../../m.onnx", "--passes", "drop_mul_by_one", "-o", "out.onnx", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["ok"] is True
    assert "drop_mul_by_one.py was loaded, as " in done.err
    done = call("recipes")
    assert "my_model.py" in done.out


def test_a_listed_plugin_runs_only_for_verbs_that_ask(call: Call, folder: Path) -> None:
    (folder / "graphopt.toml").write_text('plugins = ["broken.py"]')
    (folder / "broken.py").write_text("1 / 0\n")
    assert call("inspect", "m.onnx").code == 0
    done = call("passes")
    assert done.code == 2
    assert "broken.py:1, in <module>: 1 / 0" in done.err
    assert "Traceback" not in done.err


def test_defaults_of_a_verb_hold_unless_typed(call: Call, folder: Path) -> None:
    (folder / "graphopt.toml").write_text('[defaults.apply]\nverify = "off"\noutput = "fixed.onnx"\n')
    done = call("apply", "m.onnx", "--passes", "remove_identity")
    assert "verification: off" in done.out
    assert (folder / "fixed.onnx").is_file()
    done = call("apply", "m.onnx", "--passes", "remove_identity", "--verify", "final", "-o", "other.onnx")
    assert "verification: proven" in done.out
    assert (folder / "other.onnx").is_file()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[defaults.aply]\nverify = 1", "unknown verb 'aply'; did you mean apply?"),
        ("[defaults.apply]\nverfy = 1", "apply has no option 'verfy'; did you mean verify?"),
        ('plugins = ["nothing.py"]', "graphopt.toml lists, does not exist; take it off the list"),
        ("plugins = ", "graphopt.toml is not TOML"),
    ],
)
def test_mistakes_in_the_project_file_are_said(call: Call, folder: Path, text: str, said: str) -> None:
    (folder / "graphopt.toml").write_text(text)
    done = call("apply", "m.onnx", "--passes", "remove_pad", "--dry-run")
    assert done.code == 2
    assert said in done.err


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("bad.py", "def f(:\n", "bad.py:1: def f(:"),
        ("bad.py", "raise RuntimeError('no')\n", "bad.py:1, in <module>: raise RuntimeError('no')"),
        ("bad.py", PASS, 'write name: ClassVar[str] = "bad"'),
        ("bad.py", "x = 1\n", "bad.py holds neither a pass"),
        ("bad.py", "RECIPE = 3\n", "RECIPE must be a Recipe"),
        ("bad.py", RECIPE, "write name=\"bad\" instead of 'my_model'"),
        ("bad.py", PASS.replace("drop_mul_by_one", "bad") + "class Two(DropMulByOne): pass\n", "and Two"),
        ("remove_pad.py", PASS.replace("drop_mul_by_one", "remove_pad"), "is a pass of graphopt; rename"),
        ("deepmar.py", RECIPE.replace("my_model", "deepmar"), "is a recipe of graphopt; rename"),
        ("none.py", None, "the plugin none.py does not exist"),
    ],
)
def test_a_bad_plugin_is_refused_with_what_to_do(
    call: Call, folder: Path, name: str, text: str | None, said: str
) -> None:
    if text is not None:
        (folder / name).write_text(text)
    for arguments in (("--plugin", name, "passes"), ("passes", "--plugin", name, "--json")):
        done = call(*arguments)
        assert done.code == 2
        assert said in done.err
        assert "Traceback" not in done.err
    assert json.loads(done.out)["error"]["exit_code"] == 2


def test_two_files_of_one_name_are_refused(call: Call, folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "drop_mul_by_one.py").write_text(PASS)
    done = call("--plugin", "drop_mul_by_one.py", "--plugin", "sub/drop_mul_by_one.py", "passes")
    assert done.code == 2
    assert "two plugins define the pass drop_mul_by_one" in done.err


def test_the_same_file_may_be_named_twice(call: Call, folder: Path) -> None:
    (folder / "graphopt.toml").write_text('plugins = ["drop_mul_by_one.py"]')
    assert call("--plugin", "drop_mul_by_one.py", "passes", "--plugin", "./drop_mul_by_one.py").code == 0


def test_an_error_inside_a_pass_is_its_authors_not_a_bug_of_graphopt(call: Call, folder: Path) -> None:
    text = PASS.replace("        bypass(model, site.node)", "        bypass(model, site.nod)")
    (folder / "drop_mul_by_one.py").write_text(text)
    done = call("--plugin", "drop_mul_by_one.py", *APPLY)
    assert done.code == 2
    assert "in rewrite: bypass(model, site.nod)" in done.err
    assert "AttributeError: 'Site' object has no attribute 'nod'" in done.err
    assert "bug in graphopt" not in done.err
    assert not (folder / "out.onnx").exists()


def test_a_wrong_pass_is_caught_by_the_proof(call: Call, folder: Path) -> None:
    wrong = PASS.replace("abs(factor - 1).max() <= self.limit", "node.inputs[0].producer()")
    (folder / "drop_mul_by_one.py").write_text(wrong)
    ir.save(ir.from_onnx_text(GRAPH.replace("one = {1}", "one = {2}")), folder / "m.onnx")
    done = call("--plugin", "drop_mul_by_one.py", *APPLY)
    assert done.code == 1
    assert "drop_mul_by_one is wrong" in done.err
    refused = json.loads(call(*APPLY, "--plugin", "drop_mul_by_one.py", "--json").out)
    assert refused["error"]["exit_code"] == 1
    assert refused["report"]["verification"]["status"] == "failed"
    assert not (folder / "out.onnx").exists()


def test_a_recipe_is_named_by_its_file(call: Call) -> None:
    done = call("recipes", "./my_model.py")
    assert done.code == 0, done.err
    assert "not in this recipe: build, load, make_demo, preprocessing, task" in done.out
    done = call(
        "apply", "m.onnx", "--recipe", "./my_model.py", "--plugin", "drop_mul_by_one.py", "-o", "out.onnx"
    )
    assert done.code == 0, done.err
    done = call("apply", "out.onnx", "--passes", "remove_pad", "-o", "next.onnx")
    assert done.code == 0, "these passes need no recipe"
    assert json.loads(Path("next.onnx.json").read_text())["recipe"] == "my_model"
    done = call("validate", "m.onnx", "out.onnx")
    assert done.code == 2
    assert "unknown recipe 'my_model'" in done.err
    assert call("validate", "m.onnx", "out.onnx", "--plugin", "my_model.py").code == 0


def test_a_pipeline_runs_again_what_a_changed_plugin_touches(call: Call, folder: Path) -> None:
    def reused() -> dict[str, bool]:
        done = call(
            *("--plugin", "drop_mul_by_one.py", "pipeline", "./my_model.py", "--onnx", "m.onnx"),
            *("--targets", "onnxruntime", "--batch", "1", "-o", "run"),
        )
        assert done.code == 0, done.err + done.out
        stages: list[Any] = json.loads((folder / "run" / "run.json").read_text())["stages"]
        return {item["name"]: item["reused"] for item in stages}

    assert not any(reused().values())
    assert all(reused().values())
    (folder / "drop_mul_by_one.py").write_text(PASS + "# changed\n")
    assert {name for name, old in reused().items() if not old} >= {"rewritten", "predict-rewritten"}
    assert reused()["raw"]
    (folder / "my_model.py").write_text(RECIPE + "# changed\n")
    assert not any(reused().values())


def test_a_broken_project_file_leaves_the_help(call: Call, folder: Path) -> None:
    (folder / "graphopt.toml").write_text("plugins = [")
    assert call("inspect", "m.onnx").code == 2
    done = call("apply", "--help")
    assert done.code == 0
    assert "graphopt.toml is not TOML" in done.err


def test_defaults_at_the_wrong_level_say_where_they_belong(call: Call, folder: Path) -> None:
    (folder / "graphopt.toml").write_text('[apply]\npasses = "remove_pad"')
    assert "for defaults of a verb write [defaults.apply]" in call("passes").err
