"""The bodies of all spellings of deformable convolution against its definition, written in PyTorch."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import pytest

from graphopt.core.onnx_files import from_proto, to_proto
from graphopt.core.operator_bodies import attached
from graphopt.core.session import OnnxRuntimeSession

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch


ASCENDS = ("DeformableConv2D", "NPUDeformableConv2d")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A deformable convolution; pairs are height and width."""

    batch: int = 1
    groups: int = 1
    moved: int = 1
    channels: int = 4
    outputs: int = 6
    size: tuple[int, int] = (9, 7)
    kernel: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    spread: float = 1.5
    opset: int = 11
    masked: bool = True
    biased: bool = False
    seed: int = 0

    @property
    def out(self) -> tuple[int, int]:
        reaches = [step * (taps - 1) + 1 for step, taps in zip(self.dilations, self.kernel, strict=True)]
        high, wide = (
            (size + 2 * pad - reach) // stride + 1
            for size, pad, reach, stride in zip(self.size, self.pads, reaches, self.strides, strict=True)
        )
        return high, wide

    def arrays(self) -> dict[str, Any]:
        """Draw the inputs; some points lie exactly on pixels, on the border, and one step outside."""
        rng = np.random.default_rng(self.seed)
        grid = (self.batch, self.moved, *self.kernel, 2, *self.out)
        moves = rng.normal(0, self.spread, grid)
        whole = rng.random(grid) < 0.2
        moves[whole] = np.round(moves[whole])
        mask = rng.uniform(0, 1, (*grid[:4], *self.out)) if self.masked else np.ones((*grid[:4], *self.out))
        found = {
            "x": rng.normal(size=(self.batch, self.channels, *self.size)),
            "w": rng.normal(size=(self.outputs, self.channels // self.groups, *self.kernel)),
            "moves": moves,
            "mask": mask,
            "b": rng.normal(size=self.outputs) if self.biased else np.zeros(self.outputs),
        }
        return {name: array.astype(np.float32) for name, array in found.items()}


def drawn(seed: int) -> Setting:
    rng = random.Random(seed)

    def pair(low: int, high: int) -> tuple[int, int]:
        return rng.randint(low, high), rng.randint(low, high)

    groups, moved = rng.choice([1, 1, 2, 3]), rng.choice([1, 1, 2, 4])
    kernel = rng.choice([(1, 1), (3, 3), (3, 3), (2, 3), (5, 5), (7, 7), (1, 7)])
    dilations = pair(1, 3) if max(kernel) < 5 else (1, 1)
    return Setting(
        batch=rng.choice([1, 1, 2, 3]),
        groups=groups,
        moved=moved,
        channels=groups * moved * rng.choice([1, 2, 5]),
        outputs=groups * rng.randint(1, 4),
        size=(rng.randint(7, 13), rng.randint(7, 13)),
        kernel=kernel,
        strides=pair(1, 3),
        pads=(rng.randint(0, 3), rng.randint(0, 3)) if rng.random() < 0.7 else (kernel[0] // 2,) * 2,
        dilations=dilations,
        spread=rng.choice([0.1, 2.0, 30.0]),
        opset=rng.choice([11, 12, 13, 18, 21]),
        masked=rng.random() < 0.6,
        biased=rng.random() < 0.5,
        seed=seed,
    )


def _in_order(item: Setting, arrays: dict[str, Any], spelling: str) -> dict[str, Any]:
    """Return the inputs as an operator takes them, in its order."""
    flat = (item.batch, -1, *item.out)
    offsets, mask = arrays["moves"].reshape(flat), arrays["mask"].reshape(flat)
    if spelling in ASCENDS:
        moves = arrays["moves"]
        blocks = [moves[:, :, :, :, 1], moves[:, :, :, :, 0], arrays["mask"]]
        offsets = np.concatenate([block.reshape(flat) for block in blocks], axis=1)
        found = {"x": arrays["x"], "w": arrays["w"], "offset": offsets}
    elif spelling == "MMCVModulatedDeformConv2d":
        found = {"x": arrays["x"], "offset": offsets, "mask": mask, "w": arrays["w"]}
    else:
        found = {"x": arrays["x"], "offset": offsets, "w": arrays["w"]}
    if spelling == "NPUDeformableConv2d" and not item.biased:
        return {**found, "b": np.zeros(0, np.float32)}
    return {**found, "b": arrays["b"]} if item.biased else found


def _attributes(item: Setting, spelling: str) -> str:
    (top, left), ones = item.pads, (1, 1)
    lists: dict[str, tuple[int, ...]]
    lists = {"stride": item.strides, "padding": item.pads, "dilation": item.dilations}
    moved = "deform_groups"
    if spelling in ASCENDS:
        lists = {"strides": item.strides, "pads": item.pads, "dilations": item.dilations}
        moved = "deformable_groups"
    if spelling == "NPUDeformableConv2d":
        lists = {"strides": (*ones, *item.strides), "dilations": (*ones, *item.dilations)}
        lists["paddings"] = (top, top, left, left)
    texts = [f"{name}: ints = {list(values)}" for name, values in lists.items()]
    return ", ".join([*texts, f"groups: int = {item.groups}", f"{moved}: int = {item.moved}"])


def with_bodies(text: str) -> onnx.ModelProto:
    """Return the model as a file of it would be."""
    model = from_proto(onnx.parser.parse_model(text))
    with attached(model):
        return to_proto(model)


def computed(item: Setting, spelling: str, *, half: bool = False, dynamic: bool = False) -> Any:
    """Run a model of the one operator; its body comes with it when it is written."""
    arrays = _in_order(item, item.arrays(), spelling)
    if half:
        arrays = {name: array.astype(np.float16) for name, array in arrays.items()}
    dtype = "float16" if half else "float"
    shapes = {
        name: ",".join(f"{name}{axis}" if dynamic else str(size) for axis, size in enumerate(array.shape))
        for name, array in arrays.items()
    }
    inputs = ", ".join(f"{dtype}[{shape}] {name}" for name, shape in shapes.items())
    text = f"""<ir_version: 8, opset_import: ["" : {item.opset}]> g ({inputs}) => ({dtype}[n,c,h,w] y)
        {{ y = {spelling} <{_attributes(item, spelling)}> ({", ".join(arrays)}) }}"""
    proto = with_bodies(text)
    onnx.checker.check_model(proto, full_check=True)
    with OnnxRuntimeSession(proto.SerializeToString(), threads=1) as session:
        return session.run(arrays)["y"]


def expected(item: Setting, defined: Callable[..., Any], arrays: dict[str, Any]) -> Any:
    image, weight, moves, mask, bias = (
        torch.from_numpy(arrays[name]) for name in ("x", "w", "moves", "mask", "b")
    )
    found = defined(
        image,
        weight,
        moves,
        mask,
        strides=item.strides,
        pads=item.pads,
        dilations=item.dilations,
        groups=item.groups,
    )
    return (found + bias.double()[:, None, None]).numpy()


def assert_close(got: Any, wanted: Any, relative: float) -> None:
    """The largest error is within a fraction of the values' size."""
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max() <= relative * np.abs(wanted).max()


SPELLINGS = ("DeformableConv2D", "MMCVModulatedDeformConv2d", "MMCVDeformConv2d", "NPUDeformableConv2d")


@pytest.mark.parametrize("seed", range(30))
def test_it_computes_what_the_definition_says(defined: Callable[..., Any], seed: int) -> None:
    spelling = SPELLINGS[seed % len(SPELLINGS)]
    item = drawn(seed)
    if spelling == "MMCVDeformConv2d":
        item = Setting(**{**vars(item), "masked": False})
    got = computed(item, spelling, dynamic=seed % 2 == 0)
    assert_close(got, expected(item, defined, item.arrays()), 1e-5)


@pytest.mark.parametrize("fault", ["axes swapped", "mask left out", "groups of the mask turned"])
def test_the_comparison_has_teeth(defined: Callable[..., Any], fault: str) -> None:
    item = Setting(moved=2)
    arrays = item.arrays()
    if fault == "axes swapped":
        arrays["moves"] = arrays["moves"][:, :, :, :, ::-1].copy()
    else:
        arrays["mask"] = np.ones_like(arrays["mask"]) if "out" in fault else arrays["mask"][:, ::-1].copy()
    with pytest.raises(AssertionError):
        assert_close(computed(item, "DeformableConv2D"), expected(item, defined, arrays), 1e-2)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_points_far_outside_see_nothing(defined: Callable[..., Any], spelling: str) -> None:
    item = Setting(spread=1e6, masked=spelling != "MMCVDeformConv2d")
    assert not computed(item, spelling).any()
    assert not expected(item, defined, item.arrays()).any()


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("moved", [1, 2])
def test_half_inputs_are_computed_in_single_precision(
    defined: Callable[..., Any], spelling: str, moved: int
) -> None:
    item = Setting(moved=moved, masked=spelling != "MMCVDeformConv2d", biased=True, batch=2)
    arrays = {name: array.astype(np.float16).astype(np.float32) for name, array in item.arrays().items()}
    got = computed(item, spelling, half=True)
    assert got.dtype == np.float16
    # Only the result is rounded: half a unit in the last place of float16, and float32 noise.
    assert_close(got.astype(np.float32), expected(item, defined, arrays), 2.0**-11 + 1e-5)


def test_a_batch_is_computed_as_its_images_one_by_one() -> None:
    item = Setting(batch=3, moved=2, groups=2)
    arrays = _in_order(item, item.arrays(), "DeformableConv2D")
    text = f"""<ir_version: 8, opset_import: ["" : 11]>
        g (float[n,4,9,7] x, float[6,2,3,3] w, float[n,54,9,7] offset) => (float[n,6,9,7] y)
        {{ y = DeformableConv2D <{_attributes(item, "DeformableConv2D")}> (x, w, offset) }}"""
    proto = with_bodies(text)
    with OnnxRuntimeSession(proto.SerializeToString(), threads=1) as session:
        whole = session.run(arrays)["y"]
        for index in range(item.batch):
            one = {**arrays, **{name: arrays[name][index : index + 1] for name in ("x", "offset")}}
            np.testing.assert_array_equal(session.run(one)["y"][0], whole[index])


def test_an_offset_that_is_no_number_makes_results_that_are_none() -> None:
    item = Setting()
    text = f"""<ir_version: 8, opset_import: ["" : 11]>
        g (float[1,4,9,7] x, float[6,4,3,3] w, float[1,18,9,7] offset) => (float[n,6,9,7] y)
        {{ y = MMCVDeformConv2d <{_attributes(item, "MMCVDeformConv2d")}> (x, offset, w) }}"""
    arrays = _in_order(item, item.arrays(), "MMCVDeformConv2d")
    arrays["offset"][0, 5, 2, 3] = np.nan
    proto = with_bodies(text)
    with OnnxRuntimeSession(proto.SerializeToString(), threads=1) as session:
        found = np.isnan(session.run(arrays)["y"])
    assert found[0, :, 2, 3].all()
    assert found.sum() == 6


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_calls_of_one_geometry_share_one_body_whatever_their_sizes(spelling: str) -> None:
    given = "(x, w, o)" if spelling in ASCENDS else "(x, o, w)"
    given = given.replace("o,", "o, m,") if spelling == "MMCVModulatedDeformConv2d" else given
    calls = "\n".join(
        f"{out} = {spelling} <{_attributes(Setting(strides=strides), spelling)}> {given.replace('x', source)}"
        for out, source, strides in (("y", "x", (1, 1)), ("z", "u", (1, 1)), ("v", "u", (2, 2)))
    )
    text = f"""<ir_version: 8, opset_import: ["" : 11]>
        g (float[1,4,9,7] x, float[1,4,5,7] u, float[6,4,3,3] w, float[a,b,c,d] o, float[a,b,c,d] m)
        => (float[p,q,r,s] y, float[p,q,r,s] z, float[p,q,r,s] v) {{ {calls} }}"""
    assert len(with_bodies(text).functions) == 2
