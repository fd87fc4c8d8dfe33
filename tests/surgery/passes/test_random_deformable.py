"""Deformable convolutions of random geometry, through every pass that rewrites them."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from graphopt.surgery.engine.running import run_pass
from graphopt.surgery.passes.decompose_dcn import DecomposeDcn
from graphopt.surgery.passes.replace_dcn import ReplaceDcn
from graphopt.surgery.passes.split_deformable_groups import SplitDeformableGroups

Build = Callable[..., ir.Model]


def drawn(seed: int) -> str:
    """Return a model whose offsets, and mask where there is one, have random origins."""
    rng = random.Random(seed)
    spelling = rng.choice(["MMCVDeformConv2d", "MMCVModulatedDeformConv2d", "DeformConv"])
    opset = rng.choice([19, 22]) if spelling == "DeformConv" else rng.choice([11, 12, 13, 18])
    groups, moved = rng.choice([(1, 1), (1, 1), (2, 1), (1, 2), (1, 4), (2, 2), (3, 3)])
    channels, outputs = groups * moved * rng.randint(1, 3), groups * rng.randint(1, 3)
    size, kernel = (rng.randint(7, 11), rng.randint(7, 11)), (rng.randint(1, 4), rng.randint(1, 4))
    strides, dilations = [rng.randint(1, 3), rng.randint(1, 2)], [rng.randint(1, 2), 1]
    pads = [rng.randint(0, 2), rng.randint(0, 2)] if rng.random() < 0.5 else [1, 1]
    out = [
        (extent + 2 * pad - step * (taps - 1) - 1) // stride + 1
        for extent, pad, step, taps, stride in zip(size, pads, dilations, kernel, strides, strict=True)
    ]
    taps = moved * kernel[0] * kernel[1]
    masked = spelling == "MMCVModulatedDeformConv2d" or (spelling == "DeformConv" and rng.random() < 0.5)
    made = f"o = Conv <kernel_shape = [1,1], strides = {strides}> (q, k{rng.choice(['', ', j'])})"
    if rng.random() < 0.3:
        made = made.replace("o = Conv", "e = Conv") + " o = Neg (e)"
    if masked:
        made += f" n = Conv <strides = {strides}> (q, r) m = Sigmoid (n)"
    shape = f"{2 * taps},{channels},1,1"
    # What the offsets are made from has a size of its own, so that strides lead to theirs.
    high, wide = ((count - 1) * stride + 1 for count, stride in zip(out, strides, strict=True))
    if spelling == "DeformConv":
        attributes = f"""strides = {strides}, pads = {[*pads, *pads]}, dilations = {dilations},
            group = {groups}, offset_group = {moved}"""
        call = f"DeformConv <{attributes}> (x, w, o, {rng.choice(['', 'b'])}, {'m' if masked else ''})"
    else:
        attributes = f"""stride: ints = {strides}, padding: ints = {pads}, dilation: ints = {dilations},
            groups: int = {groups}, deform_groups: int = {moved}"""
        inputs = "x, o, m, w, b" if masked else "x, o, w"
        call = f"mmcv.{spelling} <{attributes}> ({inputs})"
    return f"""<ir_version: 9, opset_import: ["" : {opset}, "mmcv" : 1]>
        g (float[2,{channels},{size[0]},{size[1]}] x, float[2,{channels},{high},{wide}] q, float[{shape}] k,
           float[{2 * taps}] j, float[{taps},{channels},1,1] r,
           float[{outputs},{channels // groups},{kernel[0]},{kernel[1]}] w, float[{outputs}] b)
        => (float[n,c,h,v] y) {{ {made} y = {call} }}"""


@pytest.mark.parametrize("seed", range(16))
def test_every_pass_keeps_the_numbers(model_of: Build, run_model: Any, seed: int) -> None:
    text, weights = drawn(seed), ("k", "j", "r", "w", "b")
    before = run_model(model_of(text, weights))["y"]
    replaced, report = run_pass(model_of(text, weights), ReplaceDcn())
    assert report.modified, report.declined
    results = [run_model(replaced)["y"]]
    split, _ = run_pass(replaced, SplitDeformableGroups(multiple=1))
    results.append(run_model(split)["y"])
    written, _ = run_pass(split, DecomposeDcn())
    assert not [node for node in written.graph if "eform" in node.op_type]
    results.append(run_model(written)["y"])
    written, _ = run_pass(model_of(text, weights), DecomposeDcn())
    results.append(run_model(written)["y"])
    for result in results:
        assert result.shape == before.shape
        assert np.abs(result - before).max() <= 2e-5 * np.abs(before).max()
