import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Write = Callable[[str, str], Path]

TEXT = """<ir_version: 8, opset_import: ["" : 13]>
g (float[1,3,6,6] x) => (float[1,3,4,4] y) <int64[8] pads = {0,0,0,0,0,0,0,0}> {
    [pad] a = Pad (x, pads)
    [pool] b = AveragePool <kernel_shape = [3, 3]> (a)
    [last] y = Relu (b)
}"""


@pytest.fixture
def model(write_model: Write) -> Path:
    return write_model(TEXT, "m.onnx")


@pytest.fixture
def rewritten(graphopt: Any, model: Path) -> Path:
    out = model.with_name("new.onnx")
    assert graphopt("apply", model, "--passes", "remove_pad", "-o", out, "--verify", "off").code == 0
    return out


def test_equal_models_exit_with_0(graphopt: Any, model: Path, write_model: Write) -> None:
    other = write_model(TEXT.replace("a =", "aa =").replace("(a)", "(aa)"), "other.onnx")
    answer = graphopt("diff", model, other)
    assert answer.code == 0, answer.err
    assert "equal: the same operators" in answer.out
    assert "note: 1 inner tensors have another name" in answer.out


def test_a_rewrite_is_shown_with_its_pass(graphopt: Any, model: Path, rewritten: Path) -> None:
    answer = graphopt("diff", model, rewritten)
    assert answer.code == 1
    assert "DIFFERENT: 1 node removed, 0 added, 0 changed in 1 region\n" in answer.out
    assert "remove_pad: at pad" in answer.out
    assert "- Pad pad (x, pads (int64[8])) -> a" in answer.out
    assert "AveragePool pool: input 0 reads x, was a of Pad pad" in answer.out


def test_json_has_the_regions_and_their_passes(graphopt: Any, model: Path, rewritten: Path) -> None:
    answer = graphopt("diff", model, rewritten, "--json")
    assert (answer.code, answer.json["ok"], answer.json["removed"]) == (1, False, 1)
    (region,) = answer.json["graphs"][0]["regions"]
    assert (region["passes"], region["removed"][0]["by"]) == (["remove_pad"], "remove_pad")


def test_the_page_is_one_file_with_both_pictures(graphopt: Any, model: Path, rewritten: Path) -> None:
    pytest.importorskip("jinja2")
    page = model.with_name("diff.html")
    answer = graphopt("diff", model, rewritten, "--html", page)
    assert answer.code == 1
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=\"(?!#)|@import|url\((?!#)", text)
    assert text.count("<svg viewBox") == 2
    assert 'class="box removed"' in text
    assert "remove_pad" in text
    again = graphopt("diff", model, rewritten, "--html", page)
    assert (again.code, "exists; use --force" in again.err) == (2, True)
    assert graphopt("diff", model, rewritten, "--html", model, "--force").code == 2


def test_hostile_names_cannot_break_the_page(graphopt: Any, model: Path, write_model: Write) -> None:
    pytest.importorskip("jinja2")
    import onnx

    proto = onnx.load(write_model(TEXT.replace("[3, 3]", "[2, 2]").replace("4,4", "5,5"), "odd.onnx"))
    proto.graph.input[0].name = proto.graph.node[0].input[0] = "<script>alert(1)</script>"
    proto.graph.node[1].name = "</svg><b>&"
    onnx.save(proto, model.with_name("odd.onnx"))
    page = model.with_name("diff.html")
    assert graphopt("diff", model, model.with_name("odd.onnx"), "--html", page).code == 1
    text = page.read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "</svg><b>" not in text


def test_large_regions_are_listed_and_equal_ones_drawn_once(graphopt: Any, write_model: Write) -> None:
    pytest.importorskip("jinja2")
    head = '<ir_version: 8, opset_import: ["" : 13]> g (float[3] t0) => (float[3] y)'
    long = " ".join(f"t{i + 1} = {('Exp', 'Neg')[i % 2]} (t{i})" for i in range(200))
    pairs = " ".join(f"u{i} = Abs (t0) v{i} = Sin (u{i}) w{i} = Cos (v{i})" for i in range(100))
    sums = " ".join(f"s{i + 1} = Add (s{i}, w{i})" for i in range(100))
    before = write_model(f"{head} {{ {long} s0 = Tan (t200) {pairs} {sums} y = Relu (s100) }}", "a.onnx")
    short = re.sub(r"v\d+ = Sin \(u\d+\) w(\d+) = Cos \(v\d+\)", r"w\1 = Cos (u\1)", pairs)
    after = write_model(f"{head} {{ s0 = Tan (t0) {short} {sums} y = Relu (s100) }}", "b.onnx")
    page = before.with_name("diff.html")
    assert graphopt("diff", before, after, "--html", page).code == 1
    text = page.read_text(encoding="utf-8")
    assert "are listed, not drawn" in text
    assert "100 regions like this" in text
    assert text.count("<svg viewBox") == 2
    assert len(text) < 200_000


def test_an_empty_graph_and_a_folder_are_refused(graphopt: Any, model: Path, write_model: Write) -> None:
    empty = write_model(
        '<ir_version: 8, opset_import: ["" : 13]> g (float[3] x) => (float[3] x) {}', "e.onnx"
    )
    answer = graphopt("diff", model, empty)
    assert (answer.code, "has no node" in answer.err) == (2, True)
    answer = graphopt("diff", model, model.parent)
    assert (answer.code, "is a folder; give an ONNX file" in answer.err) == (2, True)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"not a model at all, just text", "it is a text file"), (None, "does not exist")],
)
def test_what_is_no_model_is_refused(graphopt: Any, model: Path, content: bytes | None, message: str) -> None:
    other = model.with_name("other.onnx")
    if content is not None:
        other.write_bytes(content)
    answer = graphopt("diff", model, other)
    assert answer.code == 2
    assert message in answer.err


def test_a_damaged_sidecar_only_costs_the_names_of_the_passes(
    graphopt: Any, model: Path, rewritten: Path
) -> None:
    sidecar = rewritten.with_name(rewritten.name + ".json")
    sidecar.write_text("{")
    assert graphopt("diff", model, rewritten).code == 1
    content = json.dumps({"sidecar_version": 1})
    sidecar.write_text(content)
    assert graphopt("diff", model, rewritten).code == 1
