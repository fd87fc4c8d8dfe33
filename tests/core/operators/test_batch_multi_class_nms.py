"""The body against the definition, written in plain PyTorch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from graphopt.core.onnx_files import from_proto, save_model
from graphopt.core.operator_bodies import body_of, call_of
from graphopt.core.operators import operator_of
from graphopt.core.session import OnnxRuntimeSession
from graphopt.surgery.shapes.shape_inference import infer_types

Feeds = dict[str, np.ndarray]
NAMES = ("boxes", "scores", "window", "valid")


def model_text(feeds: Feeds, *, opset: int, declared: bool = True, **attributes: Any) -> str:
    """Write a model of one call; ``declared`` says whether it tells the shape of the boxes."""
    kinds = {"float16": "float16", "float32": "float", "int32": "int32"}

    def shape(name: str) -> str:
        if declared or name != "boxes":
            return ",".join(map(str, feeds[name].shape))
        return "B,N,q,4"

    given = [f"{kinds[str(feeds[name].dtype)]}[{shape(name)}] {name}" for name in NAMES if name in feeds]
    inputs = ", ".join(name if name in feeds else "" for name in NAMES).rstrip(", ")
    kind = kinds[str(feeds["boxes"].dtype)]
    options = ", ".join(f"{name} = {value}" for name, value in attributes.items())
    return f"""<ir_version: 8, opset_import: ["" : {opset}]> g ({", ".join(given)})
        => ({kind}[B,M,4] b, {kind}[B,M] s, {kind}[B,M] c, int32[B] n)
        {{ b, s, c, n = BatchMultiClassNMS <{options}> ({inputs}) }}"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., list[np.ndarray]]:
    """A function that runs a saved call in onnxruntime."""

    def go(feeds: Feeds, *, opset: int = 11, declared: bool = True, **attributes: float) -> list[np.ndarray]:
        path = tmp_path / "m.onnx"
        text = model_text(feeds, opset=opset, declared=declared, **attributes)
        save_model(from_proto(ir.to_proto(ir.from_onnx_text(text))), path, force=True)
        onnx.checker.check_model(onnx.load(path), full_check=True)
        with OnnxRuntimeSession(path) as session:
            found = session.run(feeds)
        return [found[name] for name in "bscn"]

    return go


def by_definition(feeds: Feeds, *, iou: float, score: float, per_class: int, total: int) -> list[np.ndarray]:
    """Suppress box by box, class by class, image by image."""
    torch = pytest.importorskip("torch")
    kind = torch.from_numpy(feeds["boxes"]).dtype
    boxes, scores = (torch.from_numpy(feeds[name]).to(torch.float32) for name in NAMES[:2])
    limit = float(torch.tensor(score, dtype=kind))
    images, count, classes = scores.shape
    found = [
        torch.zeros(images, total, 4),
        torch.zeros(images, total),
        torch.zeros(images, total),
        torch.zeros(images),
    ]
    for image in range(images):
        kept = []
        for label in range(classes):
            mine = boxes[image, :, min(label, boxes.shape[2] - 1)].clone()
            if "window" in feeds:
                low, high = torch.from_numpy(feeds["window"][image]).float().split(2)
                mine = torch.cat([mine[:, :2].maximum(low), mine[:, 2:].minimum(high)], 1)
            alive = (scores[image, :, label] > limit) & (mine[:, 2:] > mine[:, :2]).all(1)
            if "valid" in feeds:
                alive &= torch.arange(count) < int(feeds["valid"][image])
            taken = 0
            while alive.any() and taken < per_class:
                best = int(torch.where(alive, scores[image, :, label], -torch.inf).argmax())
                kept.append((float(scores[image, best, label]), label, mine[best]))
                sides = (mine[:, 2:].minimum(mine[best, 2:]) - mine[:, :2].maximum(mine[best, :2])).clamp(0)
                areas = (mine[:, 2:] - mine[:, :2]).prod(1)
                common = sides.prod(1)
                alive &= common / (areas + areas[best] - common) <= iou
                alive[best] = False
                taken += 1
        kept.sort(key=lambda item: -item[0])
        for row, (value, label, box) in enumerate(kept[:total]):
            found[0][image, row], found[1][image, row], found[2][image, row] = box, value, label
        found[3][image] = min(len(kept), total)
    return [*(item.to(kind).numpy() for item in found[:3]), found[3].numpy().astype(np.int32)]


def make_feeds(
    seed: int,
    images: int,
    count: int,
    classes: int,
    *,
    sets: int = 1,
    dtype: str = "float32",
    size: float = 100,
) -> Feeds:
    """Make overlapping boxes, some without area or turned inside out, and scores that all differ."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, size, (images, count, sets, 2))
    sides = rng.uniform(0, size / 2, (images, count, sets, 2))
    sides[rng.random(sides.shape) < 0.05] = 0
    sides[rng.random(sides.shape) < 0.05] *= -1
    boxes = np.concatenate([corner, corner + sides], axis=-1)
    order = rng.permutation(images * count * classes) + 1
    scores = (order / (len(order) + 1)).reshape(images, count, classes)
    return {"boxes": boxes.astype(dtype), "scores": scores.astype(dtype)}


def options(*, iou: float, score: float, per_class: int, total: int) -> dict[str, Any]:
    return {
        "iou_threshold": iou,
        "score_threshold": score,
        "max_size_per_class": per_class,
        "max_total_size": total,
    }


def assert_same(expected: list[np.ndarray], got: list[np.ndarray]) -> None:
    for mine, theirs in zip(expected, got, strict=True):
        assert theirs.dtype == mine.dtype
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.torch
@pytest.mark.parametrize("opset", [11, 13, 18])
@pytest.mark.parametrize(
    ("shape", "sets", "limits"),
    [
        ((2, 30, 3), 1, {"iou": 0.5, "score": 0.1, "per_class": 7, "total": 11}),
        ((2, 30, 3), 3, {"iou": 0.3, "score": 0.4, "per_class": 100, "total": 5}),
        ((1, 40, 1), 1, {"iou": 0.7, "score": 0.0, "per_class": 50, "total": 60}),
        ((3, 9, 4), 4, {"iou": 0.1, "score": 0.5, "per_class": 2, "total": 100}),
        ((1, 12, 5), 1, {"iou": 1.0, "score": -1.0, "per_class": 12, "total": 60}),
        ((2, 12, 5), 5, {"iou": 0.5, "score": 0.999, "per_class": 3, "total": 4}),
    ],
)
def test_the_body_computes_the_definition(
    run: Callable[..., Any], opset: int, shape: tuple[int, int, int], sets: int, limits: dict[str, Any]
) -> None:
    feeds = make_feeds(opset, *shape, sets=sets)
    expected = by_definition(feeds, **limits)
    assert_same(expected, run(feeds, opset=opset, **options(**limits)))
    assert expected[3].max() > 0 or limits["score"] > 0.9


LIMITS: dict[str, Any] = {"iou": 0.5, "score": 0.3, "per_class": 5, "total": 9}


@pytest.mark.torch
@pytest.mark.parametrize("sets", [1, 3])
def test_window_and_count_of_valid_boxes(run: Callable[..., Any], sets: int) -> None:
    feeds = make_feeds(5, 2, 20, 3, sets=sets)
    window = {"window": np.array([[10, 20, 70, 60], [0, 0, 40, 50]], dtype=np.float32)}
    valid = {"valid": np.array([13, 0], dtype=np.int32)}
    for more in (window, valid, {**window, **valid}):
        given = {**feeds, **more}
        assert_same(by_definition(given, **LIMITS), run(given, **options(**LIMITS)))


@pytest.mark.torch
@pytest.mark.parametrize("sets", [1, 3])
def test_boxes_of_an_undeclared_shape(run: Callable[..., Any], sets: int) -> None:
    feeds = make_feeds(6, 2, 20, 3, sets=sets)
    assert_same(by_definition(feeds, **LIMITS), run(feeds, declared=False, **options(**LIMITS)))


@pytest.mark.torch
@pytest.mark.parametrize("size", [60.0, 900.0])
def test_float16_in_float16_out_and_the_threshold_rounded_like_the_scores(
    run: Callable[..., Any], size: float
) -> None:
    feeds = make_feeds(7, 1, 40, 2, dtype="float16", size=size)
    limit = float(np.float16(0.3))
    assert limit > 0.3  # 0.3 itself is no float16: a score of this value must not pass
    feeds["scores"][0, 3, 1] = feeds["scores"][0, 4, 0] = limit
    found = run(feeds, **options(**LIMITS))
    assert_same(by_definition(feeds, **LIMITS), found)
    assert found[1][found[1] > 0].min() > limit


def test_thresholds_are_strict(run: Callable[..., Any]) -> None:
    boxes = np.array([[0, 0, 2, 2], [0, 1, 2, 3], [5, 5, 6, 6]], dtype=np.float32).reshape(1, 3, 1, 4)
    scores = np.array([0.75, 0.5, 0.25], dtype=np.float32).reshape(1, 3, 1)
    third = float(np.float32(1 / 3))  # the first two have 2 of 6 in common
    feeds = {"boxes": boxes, "scores": scores}
    for score, iou, kept in ((0.25, third, 2), (0.2, third, 3), (0.2, 0.33, 2), (0.5, 0.33, 1)):
        found = run(feeds, **options(iou=iou, score=score, per_class=3, total=3))
        assert found[3] == kept, (score, iou)


def test_among_equal_scores_any_order_will_do(run: Callable[..., Any]) -> None:
    rng = np.random.default_rng(8)
    corner = np.arange(12, dtype=np.float32)[None, :, None, None] * 10 + rng.uniform(0, 1, (1, 12, 1, 2))
    feeds = {
        "boxes": np.concatenate([corner, corner + 5], axis=-1).astype(np.float32),
        "scores": np.full((1, 12, 2), 0.5, dtype=np.float32),
    }
    found = run(feeds, **options(iou=0.5, score=0.1, per_class=12, total=30))
    assert found[3] == 24
    pairs = {(*box, label) for box, label in zip(found[0][0, :24].tolist(), found[2][0, :24], strict=True)}
    pairs = {(*box, int(label)) for *box, label in pairs}
    assert len(pairs) == 24


def test_nothing_above_the_threshold_is_all_zeros(run: Callable[..., Any]) -> None:
    feeds = make_feeds(9, 2, 7, 3)
    found = run(feeds, **options(iou=0.5, score=1.0, per_class=4, total=6))
    assert [item.shape for item in found] == [(2, 6, 4), (2, 6), (2, 6), (2,)]
    assert not any(item.any() for item in found)


def call_in(text: str) -> Any:
    """Return the operator and the call of a model's only node."""
    model = from_proto(ir.to_proto(ir.from_onnx_text(text)))
    node = model.graph[0]
    operator = operator_of(node)
    assert operator is not None
    return operator, call_of(node, model.opset_imports[""])


def test_its_outputs_have_fixed_sizes() -> None:
    text = model_text(make_feeds(1, 3, 8, 2, dtype="float16"), opset=11, **options(**LIMITS))
    model = from_proto(ir.to_proto(ir.from_onnx_text(text)))
    types = infer_types(model)
    found = [types[value] for value in model.graph.outputs]
    assert [item.shape for item in found] == [(3, 9, 4), (3, 9), (3, 9), (3,)]
    assert [item.dtype for item in found] == [ir.DataType.FLOAT16] * 3 + [ir.DataType.INT32]


@pytest.mark.parametrize(
    ("feeds", "opset", "changes", "complaint"),
    [
        ({"dtype": "float16"}, 11, {}, None),
        ({}, 11, {}, "float32, which Ascend310, 310B, 310P and 910 do not take"),
        ({"dtype": "float16"}, 17, {}, "opsets 8 to 16, the model has 17"),
        ({"dtype": "float16"}, 11, {"max_total_size": 2000}, "max_total_size is 2000, newer kernels take"),
        ({"dtype": "float16"}, 11, {"max_size_per_class": 0}, "max_size_per_class is 0"),
        ({"dtype": "float16", "count": 5000}, 11, {}, "of 5000 boxes the kernel of 2022 looks at"),
        ({"dtype": "float16", "sets": 2}, 11, {}, "2 boxes for 3 classes"),
        ({"dtype": "float16"}, 11, {"transpose_box": 1}, "transpose_box is not read from ONNX"),
    ],
)
def test_limits_of_the_target(
    feeds: dict[str, Any], opset: int, changes: dict[str, Any], complaint: str | None
) -> None:
    given = make_feeds(1, 1, feeds.pop("count", 6), 3, **feeds)
    operator, call = call_in(model_text(given, opset=opset, **{**options(**LIMITS), **changes}))
    found = list(operator.check(call))
    assert len(found) == (complaint is not None), found
    assert complaint is None or complaint in found[0]


def test_scores_of_another_dtype_are_a_complaint() -> None:
    feeds = make_feeds(1, 1, 6, 3, dtype="float16")
    feeds["scores"] = feeds["scores"].astype(np.float32)
    operator, call = call_in(model_text(feeds, opset=11, **options(**LIMITS)))
    assert list(operator.check(call)) == ["its boxes and its scores are of different dtypes"]


@pytest.mark.parametrize("changes", [{"max_total_size": 0}, {"change_coordinate_frame": 1}])
def test_a_call_that_no_body_computes_is_left_bare(changes: dict[str, Any]) -> None:
    text = model_text(make_feeds(1, 1, 6, 3), opset=11, **{**options(**LIMITS), **changes})
    model = from_proto(ir.to_proto(ir.from_onnx_text(text)))
    assert body_of(model.graph[0], 11) is None
