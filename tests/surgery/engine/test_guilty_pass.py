"""Whatever is wrong with a pass, and wherever it stands among right ones, it is the one that is named."""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from graphopt.core.errors import VerificationError
from graphopt.core.onnx_files import load_model
from graphopt.surgery import Pass, RewriteError, Samples, Status, Verify, rewrite_file
from graphopt.surgery.graph_pass import Declined, GraphPass, Site

TEXT = """
<ir_version: 8, opset_import: ["" : 13]>
g (float[2,3,5] x) => (float[2,3,5] y, float[2,5,3] z, int64[3] s)
<float[1,3,1] w = {1.5, -0.5, 0.75}, float two = {2}>
{
    [first] a = Identity (x)
    [mul] b = Mul (a, w)
    [second] c = Identity (b)
    [scale] d = Mul (c, two)
    [third] e = Identity (d)
    [sigmoid] y = Sigmoid (e)
    [fourth] f = Identity (e)
    [clip] g = Neg (f)
    [turn] z = Transpose <perm = [0, 2, 1]> (e)
    [size] s = Shape (g)
}
"""
RIGHT = ("first", "second", "third", "fourth")


def _named(model: ir.Model, name: str) -> ir.Node | None:
    return next((node for node in model.graph if node.name == name), None)


class _Once(GraphPass):
    """A pass that changes one named node, once."""

    anchor: ClassVar[str] = "sigmoid"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        node = _named(model, self.anchor)
        if node is not None and self.name not in node.metadata_props:
            yield Site(node=node, what="changed")

    def rewrite(self, model: ir.Model, site: Site) -> None:
        site.node.metadata_props[self.name] = "done"
        self.harm(model, site.node)

    def harm(self, model: ir.Model, node: ir.Node) -> None:
        raise NotImplementedError


def _constant(model: ir.Model, name: str, values: Any) -> ir.Value:
    tensor = ir.tensor(np.asarray(values), name=name)
    value = ir.Value(name=name, const_value=tensor, type=ir.TensorType(tensor.dtype))
    value.shape = ir.Shape(tensor.numpy().shape)
    model.graph.register_initializer(value)
    return value


@dataclass(frozen=True, kw_only=True)
class Scaled(_Once):
    """Multiply by a factor near two."""

    name: ClassVar[str] = "scaled"
    anchor: ClassVar[str] = "scale"
    factor: float = 2.1

    def harm(self, model: ir.Model, node: ir.Node) -> None:
        node.replace_input_with(1, _constant(model, f"f{self.factor}", np.float32(self.factor)))


@dataclass(frozen=True, kw_only=True)
class Spoiled(Scaled):
    """Make everything NaN."""

    name: ClassVar[str] = "spoiled"
    factor: float = float("nan")


@dataclass(frozen=True, kw_only=True)
class JustOver(Scaled):
    """Be wrong by little more than is allowed."""

    name: ClassVar[str] = "just_over"
    factor: float = 2 * (1 + 3e-4)


@dataclass(frozen=True, kw_only=True)
class Unscaled(Scaled):
    """Undo what another pass did."""

    name: ClassVar[str] = "unscaled"
    factor: float = 2.0


@dataclass(frozen=True, kw_only=True)
class Turned(_Once):
    """Give one output another shape."""

    name: ClassVar[str] = "turned"
    anchor: ClassVar[str] = "turn"

    def harm(self, model: ir.Model, node: ir.Node) -> None:
        node.attributes["perm"] = ir.AttrInt64s("perm", (1, 2, 0))
        node.outputs[0].shape = None


@dataclass(frozen=True, kw_only=True)
class Retyped(_Once):
    """Give one output another dtype."""

    name: ClassVar[str] = "retyped"
    anchor: ClassVar[str] = "size"

    def harm(self, model: ir.Model, node: ir.Node) -> None:
        output = node.outputs[0]
        output.name = "s64"
        cast = ir.node("Cast", [output], {"to": ir.DataType.INT32.value}, name="narrow")
        cast.outputs[0].name = "s"
        cast.outputs[0].type, cast.outputs[0].shape = ir.TensorType(ir.DataType.INT32), ir.Shape([3])
        model.graph.insert_after(node, cast)
        output.replace_all_uses_with(cast.outputs[0], replace_graph_outputs=True)
        cast.replace_input_with(0, output)


@dataclass(frozen=True, kw_only=True)
class Dropped(_Once):
    """Lose an output."""

    name: ClassVar[str] = "dropped"
    anchor: ClassVar[str] = "turn"

    def harm(self, model: ir.Model, node: ir.Node) -> None:
        model.graph.outputs.remove(node.outputs[0])


@dataclass(frozen=True, kw_only=True)
class Swapped(_Once):
    """Let the outputs come in another order."""

    name: ClassVar[str] = "swapped"

    def harm(self, model: ir.Model, node: ir.Node) -> None:
        outputs = list(model.graph.outputs)
        model.graph.outputs.clear()
        model.graph.outputs.extend(outputs[::-1])


@dataclass(frozen=True, kw_only=True)
class Illegal(_Once):
    """Write a node that the ONNX checker refuses."""

    name: ClassVar[str] = "illegal"
    anchor: ClassVar[str] = "turn"

    def harm(self, model: ir.Model, node: ir.Node) -> None:
        node.attributes["nonsense"] = ir.AttrInt64("nonsense", 1)


@dataclass(frozen=True, kw_only=True)
class Broken(_Once):
    """Leave a value that nothing makes."""

    name: ClassVar[str] = "broken"

    def harm(self, model: ir.Model, node: ir.Node) -> None:
        node.replace_input_with(0, ir.Value(name="nowhere"))


@dataclass(frozen=True, kw_only=True)
class Rarely(_Once):
    """Be wrong only for inputs larger than those that are made up."""

    name: ClassVar[str] = "rarely"
    anchor: ClassVar[str] = "turn"

    def harm(self, model: ir.Model, node: ir.Node) -> None:
        limit = ir.node("Min", [node.inputs[0], _constant(model, "limit", np.float32(20))], name="limited")
        limit.outputs[0].name = "limited"
        model.graph.insert_before(node, limit)
        node.replace_input_with(0, limit.outputs[0])


@dataclass(frozen=True, kw_only=True)
class Reader(_Once):
    """Read a constant that nobody read: right as long as nobody changed it."""

    name: ClassVar[str] = "reader"

    def harm(self, model: ir.Model, node: ir.Node) -> None:
        spare = model.graph.initializers.get("odd") or model.graph.initializers["two"]
        scale = _named(model, "scale")
        assert scale is not None
        scale.replace_input_with(1, spare)


@dataclass(frozen=True, kw_only=True)
class Trap(_Once):
    """Add a wrong constant that the next pass will take."""

    name: ClassVar[str] = "trap"
    anchor: ClassVar[str] = "turn"

    def harm(self, model: ir.Model, node: ir.Node) -> None:
        odd = _constant(model, "odd", np.float32(2.5))
        extra = ir.node("Neg", [odd], name="extra")
        extra.outputs[0].name = "extra"
        model.graph.insert_before(node, extra)


WRONG: tuple[Pass, ...] = (
    Scaled(), Spoiled(), JustOver(), Turned(), Retyped(), Dropped(), Swapped(), Illegal(), Broken(),
)  # fmt: skip


@pytest.fixture
def source(write_text: Callable[[str, str], Path]) -> Path:
    return write_text(TEXT, "source.onnx")


def _shuffled(planted: Any, rng: random.Random, *wrong: Pass) -> list[Pass]:
    """Return right passes in any order, with the wrong ones at random places, in their order."""
    steps: list[Pass] = [planted.DropIdentity(node=name) for name in rng.sample(RIGHT, rng.randint(0, 4))]
    places = sorted(rng.randint(0, len(steps)) for _ in wrong)
    for offset, (place, item) in enumerate(zip(places, wrong, strict=True)):
        steps.insert(place + offset, item)
    return steps


def _guilty(source: Path, output: Path, steps: list[Pass], **options: Any) -> str:
    with pytest.raises(RewriteError) as caught:
        rewrite_file(source, output, steps, **options)
    assert not output.exists()
    assert not output.with_suffix(".json").exists()
    verification = caught.value.report.verification
    assert verification.status is Status.FAILED
    assert str(caught.value).startswith(f"{verification.guilty} is wrong")
    return verification.guilty


@pytest.mark.parametrize("mode", [Verify.FINAL, Verify.EACH])
@pytest.mark.parametrize("wrong", WRONG, ids=lambda item: item.name)
@pytest.mark.parametrize("seed", range(2))
def test_one_wrong_pass_is_named_and_only_it_is_left_out(
    source: Path, tmp_path: Path, planted: Any, wrong: Pass, mode: Verify, seed: int
) -> None:
    steps = _shuffled(planted, random.Random(f"{wrong.name} {seed}"), wrong)
    assert _guilty(source, tmp_path / "o.onnx", steps, verify=mode) == wrong.name
    report = rewrite_file(source, tmp_path / "o.onnx", steps, verify=mode, keep_proven=True)
    assert report.dropped == (wrong.name,)
    assert report.verification.status is Status.PROVEN
    assert [item.name for item in report.passes] == ["drop_identity"] * (len(steps) - 1)


@pytest.mark.parametrize("seed", range(12))
def test_of_two_wrong_passes_the_first_is_named_and_both_are_left_out(
    source: Path, tmp_path: Path, planted: Any, seed: int
) -> None:
    rng = random.Random(seed)
    first, second = rng.sample([item for item in WRONG if not isinstance(item, Scaled)] + [Scaled()], 2)
    steps = _shuffled(planted, rng, first, second)
    mode = rng.choice([Verify.FINAL, Verify.EACH])
    assert _guilty(source, tmp_path / "o.onnx", steps, verify=mode) == first.name
    report = rewrite_file(source, tmp_path / "o.onnx", steps, verify=mode, keep_proven=True)
    assert set(report.dropped) == {first.name, second.name}


def test_errors_that_cancel_are_no_error_at_the_end_and_one_in_between(
    source: Path, tmp_path: Path, planted: Any
) -> None:
    steps: list[Pass] = [Scaled(), planted.DropIdentity(node="first"), Unscaled()]
    report = rewrite_file(source, tmp_path / "o.onnx", steps)
    assert report.verification.status is Status.PROVEN
    assert _guilty(source, tmp_path / "p.onnx", steps, verify=Verify.EACH) == "scaled"


def test_after_errors_that_cancelled_the_first_wrong_pass_is_named(
    source: Path, tmp_path: Path, planted: Any
) -> None:
    steps: list[Pass] = [Scaled(), Unscaled(), planted.DropIdentity(), Turned()]
    assert _guilty(source, tmp_path / "o.onnx", steps) == "scaled"


def test_a_pass_that_is_wrong_only_behind_another_is_named_where_the_numbers_move(
    source: Path, tmp_path: Path, planted: Any
) -> None:
    right: list[Pass] = [Reader(), planted.DropIdentity()]
    assert rewrite_file(source, tmp_path / "a.onnx", right).verification.status is Status.PROVEN
    for mode in (Verify.FINAL, Verify.EACH):
        steps: list[Pass] = [Trap(), planted.DropIdentity(), Reader()]
        assert _guilty(source, tmp_path / "o.onnx", steps, verify=mode) == "reader"


def test_what_is_wrong_only_on_some_inputs_is_seen_with_those(
    source: Path, tmp_path: Path, planted: Any
) -> None:
    steps: list[Pass] = [planted.DropIdentity(), Rarely()]
    rng = np.random.default_rng(7)
    feeds = tuple({"x": rng.uniform(-1, 1, (2, 3, 5)).astype(np.float32)} for _ in range(4))
    small = Samples(feeds=feeds, kind="small ones")
    report = rewrite_file(source, tmp_path / "a.onnx", steps, samples=small)
    assert (report.verification.status, report.verification.samples) == (Status.PROVEN, 4)
    far = Samples(feeds=(*feeds, {"x": feeds[0]["x"] * 30}), kind="with a far one")
    assert _guilty(source, tmp_path / "b.onnx", steps, samples=far) == "rarely"


@dataclass(frozen=True, kw_only=True)
class _Claims(GraphPass):
    """Report a change that is none, after another pass already did harm."""

    name: ClassVar[str] = "claims"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        yield Site(node=model.graph[0], what="nothing")

    def rewrite(self, model: ir.Model, site: Site) -> None:
        del model, site


def test_of_a_wrong_pass_and_a_later_one_that_fails_the_wrong_one_is_named(
    source: Path, tmp_path: Path, planted: Any
) -> None:
    steps: list[Pass] = [planted.DropIdentity(node="first"), Scaled(), _Claims()]
    assert _guilty(source, tmp_path / "o.onnx", steps) == "scaled"
    assert _guilty(source, tmp_path / "o.onnx", steps, verify=Verify.OFF) == "claims"
    report = rewrite_file(source, tmp_path / "o.onnx", steps, keep_proven=True)
    assert report.dropped == ("scaled", "claims")


def test_a_declared_shape_that_the_output_does_not_have_is_wrong(
    write_text: Callable[[str, str], Path], tmp_path: Path
) -> None:
    source = write_text(
        '<ir_version: 8, opset_import: ["" : 13]> g (float[2,9] x) => (int64[2,n] y) '
        "{ [a] a = Abs (x) [sigmoid] y = NonZero (a) }",
        "nonzero.onnx",
    )

    @dataclass(frozen=True, kw_only=True)
    class Declares(_Once):
        name: ClassVar[str] = "declares"

        def harm(self, model: ir.Model, node: ir.Node) -> None:
            model.graph.outputs[0].shape = ir.Shape([2, 5])

    with pytest.raises(VerificationError, match=r"declared as \[2, 5\] and comes as \[2, 18\]"):
        rewrite_file(source, tmp_path / "o.onnx", [Declares()])


def test_the_source_is_never_written(source: Path, tmp_path: Path, planted: Any) -> None:
    before: Mapping[str, Any] = {"bytes": source.read_bytes()}
    rewrite_file(source, tmp_path / "o.onnx", [planted.DropIdentity()], verify=Verify.EACH)
    assert source.read_bytes() == before["bytes"]
    assert len(load_model(tmp_path / "o.onnx").graph) == 6
    onnx.checker.check_model(str(tmp_path / "o.onnx"))


def test_a_declared_shape_that_is_wrong_in_the_source_already_is_nobodys_fault(
    write_text: Callable[[str, str], Path], tmp_path: Path, planted: Any
) -> None:
    source = write_text(
        '<ir_version: 8, opset_import: ["" : 13]> g (float[2,9] x) => (int64[2,5] y) '
        "{ [first] a = Identity (x) b = Relu (a) y = NonZero (b) }",
        "nonzero.onnx",
    )
    report = rewrite_file(source, tmp_path / "o.onnx", [planted.DropIdentity()])
    assert report.verification.status is Status.PROVEN
