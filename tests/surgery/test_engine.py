"""Rewriting files: what is written, what is reported, what is refused."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import onnx
import onnx_ir as ir
import pytest

from graphopt.core.artefacts import Artefact
from graphopt.core.errors import (
    ExpectedMatchError,
    InvalidModelError,
    OutputError,
    PreconditionError,
    UsageError,
)
from graphopt.core.onnx_files import load_model
from graphopt.core.tensors import TensorSpec
from graphopt.surgery import Expect, PassStep, RewriteError, Status, Verify, parse_steps, rewrite_file
from graphopt.surgery.graph_pass import Declined, GraphPass, Site

Write = Callable[[str, str], Path]


def _ops(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def _leftovers(folder: Path) -> set[str]:
    return {item.name for item in folder.iterdir()}


def test_the_result_is_written_proven_and_reported(chain: Path, tmp_path: Path, planted: Any) -> None:
    before = chain.read_bytes()
    output = tmp_path / "out.onnx"
    report = rewrite_file(chain, output, [planted.DropIdentity()])
    assert _ops(output) == ["Conv", "Mul", "Relu", "Sigmoid"]
    assert chain.read_bytes() == before
    assert report.verification.status is Status.PROVEN
    assert report.verification.samples == 2
    assert report.verification.kind == "seeded structured"
    assert (report.nodes_before, report.nodes_after) == (8, 4)
    assert report.ops_before["Identity"] == 4
    assert "Identity" not in report.ops_after
    assert report.source_sha256 == hashlib.sha256(before).hexdigest()
    assert report.output_sha256 == hashlib.sha256(output.read_bytes()).hexdigest()
    assert report.bytes_after == output.stat().st_size
    (done,) = report.passes
    assert [change.node for change in done.applied] == ["first", "second", "third", "fourth"]
    assert done.max_abs == 0.0
    assert done.modified
    assert _leftovers(tmp_path) == {"chain.onnx", "out.onnx", "out.onnx.json"}


def test_the_report_is_plain_data(chain: Path, tmp_path: Path, planted: Any) -> None:
    report = rewrite_file(chain, tmp_path / "out.onnx", [planted.DropIdentity(node="second")])
    content = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert content["passes"][0]["options"] == {"node": "second"}
    assert content["passes"][0]["applied"] == [{"node": "second", "op_type": "Identity", "what": "removed"}]
    assert content["verification"]["status"] == "proven"
    assert content["verification"]["comparisons"][0]["outcome"] == "MATCH"
    assert content["modified"] is True


def test_a_dry_run_shows_what_each_pass_would_do_and_writes_nothing(
    chain: Path, tmp_path: Path, planted: Any
) -> None:
    before = chain.read_bytes()
    steps = [planted.DropIdentity(node="first"), planted.DropIdentity(), PassStep("remove_pad", expect=1)]
    report = rewrite_file(chain, None, steps)
    assert [len(item.applied) for item in report.passes] == [1, 3, 0]
    assert report.passes[2].warning == "remove_pad: 1 expected, 0 matched; declined: none"
    assert report.output is None
    assert report.verification.status is Status.OFF
    assert report.nodes_after == 4
    assert chain.read_bytes() == before
    assert _leftovers(tmp_path) == {"chain.onnx"}


def test_a_pass_without_sites_is_a_warning(chain: Path, tmp_path: Path) -> None:
    report = rewrite_file(chain, tmp_path / "out.onnx", parse_steps("remove_pad"))
    assert report.passes[0].warning == "matched nothing"
    assert not report.modified
    assert report.verification.status is Status.PROVEN


def test_a_broken_promise_is_an_error_without_output(chain: Path, tmp_path: Path) -> None:
    with pytest.raises(ExpectedMatchError, match="remove_pad: 1 expected, 0 matched; declined: none"):
        rewrite_file(chain, tmp_path / "out.onnx", parse_steps("remove_pad:expect=1"))
    assert _leftovers(tmp_path) == {"chain.onnx"}


def test_a_broken_promise_shows_what_was_declined(write_text: Write, tmp_path: Path) -> None:
    source = write_text(
        '<ir_version: 8, opset_import: ["" : 13]> g (float[1,2,4,4] x) => (float[1,2,6,6] y)'
        "<int64[8] pads = {0,0,1,1,0,0,1,1}> { [padding] y = Pad (x, pads) }",
        "pad.onnx",
    )
    with pytest.raises(ExpectedMatchError, match=r"declined: padding \(Pad\): "):
        rewrite_file(source, tmp_path / "out.onnx", parse_steps("remove_pad:expect=1"))


@pytest.mark.parametrize(("producer", "count"), [("pytorch 1.6", 0), ("pytorch", 0), ("pytorch 2.", 5)])
def test_an_expectation_binds_only_its_producer(
    chain: Path, tmp_path: Path, producer: str, count: int
) -> None:
    step = PassStep("remove_pad", expect=(Expect(count, producer),))
    report = rewrite_file(chain, tmp_path / "out.onnx", [step], verify=Verify.OFF)
    assert not report.passes[0].applied
    assert report.passes[0].warning == ("" if count == 0 else "matched nothing")


def test_verification_off_is_said(chain: Path, tmp_path: Path, planted: Any) -> None:
    report = rewrite_file(chain, tmp_path / "o.onnx", [planted.ChangeConstant()], verify=Verify.OFF)
    assert report.verification.status is Status.OFF
    assert report.verification.comparisons == ()
    assert (tmp_path / "o.onnx").is_file()


def test_outputs_are_protected(chain: Path, tmp_path: Path, planted: Any) -> None:
    taken = tmp_path / "taken.onnx"
    taken.write_bytes(b"old")
    with pytest.raises(OutputError, match="--force"):
        rewrite_file(chain, taken, [planted.DropIdentity()])
    assert taken.read_bytes() == b"old"
    with pytest.raises(OutputError, match="is the input"):
        rewrite_file(chain, chain, [planted.DropIdentity()], force=True)
    rewrite_file(chain, taken, [planted.DropIdentity()], force=True)
    assert len(_ops(taken)) == 4


def test_a_failed_rewrite_leaves_the_old_output(chain: Path, tmp_path: Path, planted: Any) -> None:
    taken = tmp_path / "taken.onnx"
    taken.write_bytes(b"old")
    with pytest.raises(RewriteError):
        rewrite_file(chain, taken, [planted.ChangeConstant()], force=True)
    assert taken.read_bytes() == b"old"
    assert _leftovers(tmp_path) == {"chain.onnx", "taken.onnx"}


def test_a_missing_source_and_an_unknown_pass_are_usage(tmp_path: Path, chain: Path) -> None:
    with pytest.raises(InvalidModelError):
        rewrite_file(tmp_path / "none.onnx", tmp_path / "o.onnx", parse_steps("remove_pad"))
    with pytest.raises(UsageError, match="did you mean remove_pad"):
        rewrite_file(chain, tmp_path / "o.onnx", [PassStep("remove_pax")])


@pytest.mark.parametrize("line", ["drop_identity", "writing and checking", "comparing with the source"])
def test_an_interrupt_leaves_nothing_behind(chain: Path, tmp_path: Path, planted: Any, line: str) -> None:
    def interrupt(text: str) -> None:
        if text == line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rewrite_file(chain, tmp_path / "o.onnx", [planted.DropIdentity()], on_progress=interrupt)
    assert _leftovers(tmp_path) == {"chain.onnx"}


def test_the_sidecar_names_recipe_parent_and_roles(chain: Path, tmp_path: Path, planted: Any) -> None:
    output = tmp_path / "out.onnx"
    spec = TensorSpec(name="y", shape=(1, 3, 6, 6), dtype="float32", role="scores", unit="logit")
    sha = hashlib.sha256(chain.read_bytes()).hexdigest()
    Artefact(path=chain, stage="raw", target="onnx", sha256=sha, recipe="demo", outputs=(spec,)).save()
    report = rewrite_file(chain, output, [planted.DropIdentity()])
    written = Artefact.load(output)
    assert written is not None
    assert (written.stage, written.recipe, written.batch) == ("rewritten", "demo", 1)
    assert written.parent_sha256 == report.source_sha256
    assert [spec.role for spec in written.outputs] == ["scores", ""]
    (applied,) = written.settings["passes"]
    assert (applied["name"], applied["options"]) == ("drop_identity", {"node": ""})
    assert applied["nodes"] == ["first", "second", "third", "fourth"]


def test_nodes_in_subgraphs_and_functions_are_rewritten(
    write_text: Write, tmp_path: Path, planted: Any
) -> None:
    source = write_text(
        """
        <ir_version: 8, opset_import: ["" : 13, "own" : 1]>
        g (bool flag, float[2] x) => (float[2] y) {
            h = own.twice (x)
            y = If (flag) <
                then_branch = a () => (float[2] p) { q = Identity (h)  p = Neg (q) },
                else_branch = b () => (float[2] r) { s = Identity (h)  r = Exp (s) }
            >
        }
        <domain: "own", opset_import: ["" : 13]> twice (i) => (o) { j = Identity (i)  o = Add (j, j) }
        """,
        "nested.onnx",
    )
    output = tmp_path / "out.onnx"
    report = rewrite_file(source, output, [planted.DropIdentity()])
    assert len(report.passes[0].applied) == 3
    assert "Identity" not in str(onnx.load(output))
    assert report.verification.status is Status.PROVEN


@dataclass(frozen=True, kw_only=True)
class _Claims(GraphPass):
    """Misbehave in one way."""

    name: ClassVar[str] = "misbehave"
    way: str

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        relu = next(node for node in model.graph if node.op_type == "Relu")
        if self.way == "secret":
            relu.attributes["note"] = ir.AttrString("note", "changed")
        elif self.way in ("idle", "endless") or "note" not in relu.attributes:
            yield Site(node=relu, what="noted")

    def rewrite(self, model: ir.Model, site: Site) -> None:
        node = site.node
        if self.way == "idle":
            return
        if self.way == "endless":
            node.attributes["note"] = (
                ir.AttrInt64("note", node.attributes["note"].as_int() + 1)
                if ("note" in node.attributes)
                else ir.AttrInt64("note", 0)
            )
            return
        node.attributes["note"] = ir.AttrString("note", "changed")
        if self.way == "dangling":
            loose = ir.Node("", "Exp", inputs=[], num_outputs=1)
            loose.outputs[0].name = "loose"
            node.replace_input_with(0, loose.outputs[0])
        elif self.way == "twins":
            assert node.inputs[0] is not None
            node.inputs[0].name = "y"
        elif self.way == "cycle":
            node.replace_input_with(0, node.outputs[0])


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ("idle", "misbehave reports a change at relu .noted., but the model is as before"),
        ("secret", r"its sites\(\) changed the model"),
        ("endless", "still finds 1 sites after 100 sweeps, the first at relu"),
        ("dangling", "misbehave broke the graph: node relu .Relu. reads loose, which came from"),
        ("twins", "misbehave broke the graph: two values are named y"),
        ("cycle", "misbehave broke the graph: it made a cycle"),
        ("invalid", "misbehave is wrong: the ONNX checker refuses the result"),
    ],
)
def test_a_misbehaving_pass_is_named_wherever_it_stands(
    chain: Path, tmp_path: Path, planted: Any, way: str, message: str
) -> None:
    good = [planted.DropIdentity(node=name) for name in ("first", "second", "third")]
    for position in (0, 2, 3):
        steps = [*good[:position], _Claims(way=way), *good[position:]]
        with pytest.raises(RewriteError, match=message) as caught:
            rewrite_file(chain, tmp_path / "out.onnx", steps)
        assert caught.value.report.verification.guilty == "misbehave"
    assert not (tmp_path / "out.onnx").exists()


def test_keep_proven_leaves_out_a_pass_that_breaks_the_graph(
    chain: Path, tmp_path: Path, planted: Any
) -> None:
    output = tmp_path / "out.onnx"
    steps = [_Claims(way="invalid"), planted.DropIdentity(), _Claims(way="dangling")]
    report = rewrite_file(chain, output, steps, keep_proven=True)
    assert report.dropped == ("misbehave", "misbehave")
    assert _ops(output) == ["Conv", "Mul", "Relu", "Sigmoid"]
    assert [item.name for item in report.passes] == ["drop_identity"]


@dataclass(frozen=True, kw_only=True)
class _Doubling(GraphPass):
    """Replace Mul by two with an Add; appended at the end of the graph."""

    name: ClassVar[str] = "doubling"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        for node in model.graph:
            if node.op_type == "Mul":
                # Two sites for one node: the second finds it gone.
                yield Site(node=node, what="Add")
                yield Site(node=node, what="Add")

    def rewrite(self, model: ir.Model, site: Site) -> None:
        old = site.node
        value = old.inputs[0]
        new = ir.Node("", "Add", inputs=[value, value], num_outputs=1)
        model.graph.append(new)
        name = old.outputs[0].name
        old.outputs[0].replace_all_uses_with(new.outputs[0])
        model.graph.remove(old, safe=True)
        new.outputs[0].name = name


def test_the_engine_sorts_drops_unused_weights_and_counts_consumed_sites_once(
    chain: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.onnx"
    report = rewrite_file(chain, output, [_Doubling()])
    assert len(report.passes[0].applied) == 1
    model = onnx.load(output)
    assert [item.name for item in model.graph.initializer] == ["weight"]
    assert _ops(output).index("Add") == 3
    assert report.verification.status is Status.PROVEN


def test_a_precondition_of_a_pass_stops_the_run(chain: Path, tmp_path: Path) -> None:
    @dataclass(frozen=True, kw_only=True)
    class _Needs(_Claims):
        def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
            raise PreconditionError("needs opset 99")
            yield

    with pytest.raises(PreconditionError, match="opset 99"):
        rewrite_file(chain, tmp_path / "out.onnx", [_Needs(way="")])


def test_what_is_neither_kind_of_pass_is_a_bug(chain: Path, tmp_path: Path) -> None:
    from graphopt.surgery.graph_pass import Pass

    class Odd(Pass):
        name = "odd"

    with pytest.raises(TypeError, match="must derive from GraphPass or ModelPass"):
        rewrite_file(chain, None, [Odd()])


@pytest.mark.shared
def test_deepmar_loses_its_one_useless_pad(filled_deepmar: Path, tmp_path: Path) -> None:
    output = tmp_path / "deepmar.opt.onnx"
    step = PassStep("remove_pad", expect=(Expect(1, "pytorch 1.6"), Expect(0, "pytorch 2.")))
    report = rewrite_file(filled_deepmar, output, [step], recipe="deepmar")
    assert [change.node for change in report.passes[0].applied] == ["Pad_173"]
    assert report.verification.status is Status.PROVEN
    assert report.verification.max_abs == 0.0
    assert report.nodes_before == 182
    assert "Pad" not in report.ops_after
    model = load_model(output)
    assert dataclasses.asdict(report)["nodes_after"] == len(list(model.graph.all_nodes()))
    with pytest.raises(ExpectedMatchError, match="been through this pass before"):
        rewrite_file(output, tmp_path / "again.onnx", [step], verify=Verify.OFF)
