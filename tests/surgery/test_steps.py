"""What users type after --passes, and what passes say about themselves."""

import enum
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnx
import pytest

from graphopt.core.errors import UsageError
from graphopt.surgery import Expect, PassStep, describe_passes, make_pass, parse_steps, pass_names
from graphopt.surgery.engine.rewriting import rewrite_file
from graphopt.surgery.options import plain, type_text, typed_options
from graphopt.surgery.presets import PRESETS


class Mode(enum.Enum):
    FAST = "fast"
    SMALL = "small"


@dataclass(frozen=True, kw_only=True)
class Options:
    size: int = 1
    ratio: float = 0.5
    deep: bool = False
    label: str = ""
    names: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    mode: Mode = Mode.FAST
    engine: Literal["a", "b"] = "a"
    limit: int | None = 3


def test_a_step_has_name_options_and_expectation() -> None:
    steps = parse_steps("remove_pad:expect=1, simplify:engine=onnxslim:expect=2,drop_dropout")
    assert steps == (
        PassStep("remove_pad", {}, 1),
        PassStep("simplify", {"engine": "onnxslim"}, 2),
        PassStep("drop_dropout"),
    )


def test_a_colon_may_stand_in_a_value() -> None:
    (step,) = parse_steps("pin_outputs:names=Concat_1487:0+Reshape_1489:0")
    assert step.options == {"names": "Concat_1487:0+Reshape_1489:0"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no pass was given"),
        ("remove_pads", "did you mean remove_pad"),
        ("simplify:engin=onnxsim", "did you mean engine"),
        ("simplify:engine=onnxsym", r"one of onnxsim\|onnxslim\|onnxscript"),
        ("remove_pad:size=1", "no options of its own"),
        ("remove_pad:expect=one", "number of sites"),
        ("remove_pad:expect=-1", "number of sites"),
        ("remove_pad:1", "is no option"),
        ("simplify:engine=onnxsim:engine=onnxslim", "given twice"),
    ],
)
def test_a_mistake_is_named(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_steps(text)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("size", "4", 4),
        ("ratio", "1e-3", 1e-3),
        ("deep", "true", True),
        ("deep", "off", False),
        ("label", "4", "4"),
        ("names", "dets+labels", ("dets", "labels")),
        ("sizes", "1+2+3", (1, 2, 3)),
        ("mode", "small", Mode.SMALL),
        ("engine", "b", "b"),
        ("limit", "7", 7),
        ("limit", "none", None),
    ],
)
def test_texts_become_the_types_of_the_fields(key: str, text: str, value: object) -> None:
    assert typed_options("p", Options, {key: text}) == {key: value}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("size", "four", "size must be int, not 'four'"),
        ("size", True, "size must be int"),
        ("size", 1.5, "size must be int"),
        ("ratio", "x", "ratio must be float"),
        ("deep", "maybe", "deep must be bool"),
        ("sizes", "1+b", r"sizes must be whole numbers joined by"),
        ("mode", "huge", r"one of fast\|small"),
        ("names", 3, "names must be texts joined by"),
        ("engine", "c", r"one of a\|b"),
    ],
)
def test_a_wrong_value_is_refused_with_the_type_and_the_options(
    key: str, value: object, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        typed_options("p", Options, {key: value})
    assert "ratio (float)" in str(caught.value)


def test_python_values_are_taken_as_they_are() -> None:
    options: dict[str, object] = {"size": 2, "ratio": 1, "names": ["a"], "mode": Mode.SMALL, "limit": None}
    typed = typed_options("p", Options, options)
    assert typed == {"size": 2, "ratio": 1.0, "names": ("a",), "mode": Mode.SMALL, "limit": None}


def test_a_missing_option_is_named() -> None:
    @dataclass(frozen=True)
    class Needy:
        size: int

    with pytest.raises(UsageError, match="p needs the option size: p:size=VALUE"):
        typed_options("p", Needy, {})


def test_types_read_well_and_values_become_plain() -> None:
    assert type_text(tuple[str, ...]) == "texts joined by +"
    assert type_text(int | None) == "int"
    assert plain((Mode.FAST, {"a": (1, None)})) == ["fast", {"a": [1, None]}]


def test_an_expectation_holds_for_its_producer_only() -> None:
    step = PassStep("remove_pad", expect=(Expect(1, "pytorch 1.6"), Expect(0, "pytorch 2.")))
    assert step.expected_count("pytorch 1.6") == 1
    assert step.expected_count("pytorch 2.13.0") == 0
    assert step.expected_count("tf2onnx 1.9") is None
    assert PassStep("remove_pad", expect=2).expected_count("anything") == 2


def test_options_reach_the_pass() -> None:
    made = make_pass(PassStep("simplify", {"engine": "onnxscript"}))
    assert made.name == "simplify"
    assert vars(made) == {"engine": "onnxscript"}


def test_every_pass_is_described() -> None:
    passes = {item.name: item for item in describe_passes()}
    assert tuple(passes) == pass_names()
    simplify = passes["simplify"]
    assert simplify.summary.startswith("Run a general simplifier")
    assert simplify.before == "any model under 2 GB."
    (option,) = simplify.options
    assert (option.name, option.type, option.default) == (
        "engine",
        "one of onnxsim|onnxslim|onnxscript",
        "onnxsim",
    )
    assert option.doc == "which library does it."
    assert passes["drop_dropout"].to_json()["effect"] == "exact"


def test_importing_surgery_loads_nothing_heavy() -> None:
    code = (
        "import sys, graphopt.surgery as s; s.PassStep('x');"
        "print([m for m in ('numpy', 'onnx', 'onnx_ir', 'onnxruntime') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    import graphopt.surgery

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        graphopt.surgery.nothing  # noqa: B018


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_name_passes_that_there_are(name: str) -> None:
    names = [step.name for step in parse_steps(PRESETS[name])]
    assert len(set(names)) == len(names)


def test_a_detector_is_cleaned_behind_what_is_replaced() -> None:
    names = [step.name for step in parse_steps(PRESETS["detector"])]
    assert names.index("replace_roi_extractor") < names.index("replace_nms") < names.index("static_shapes")


def test_blocks_are_joined_where_static_shapes_first_make_the_indices_constant(tmp_path: Path) -> None:
    # As torch 1.8 writes x[:, :2] = ...: FSAF's and YOLOv3's heads do so for every level.
    text = """<ir_version: 8, opset_import: ["" : 13]> g (float[5,4] x, float[3,4] u) => (float[5,4] y)
        <int64 zero = {0}, int64 one = {1}, int64 two = {2}, int64[1] last = {1}> {
        s = Shape (x) n = Gather (s, zero) m = Sub (n, two) r = Range (zero, m, one)
        i = Unsqueeze (r, last) y = ScatterND (x, i, u) }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "m.onnx")
    rewrite_file(tmp_path / "m.onnx", tmp_path / "o.onnx", parse_steps(PRESETS["detector"]))
    assert {node.op_type for node in onnx.load(tmp_path / "o.onnx").graph.node} == {"Slice", "Concat"}
