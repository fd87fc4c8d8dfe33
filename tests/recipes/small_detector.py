"""A detector of two stages with everything that target operators compute, small enough for every run."""

from pathlib import Path

import numpy as np
import onnx.parser
from onnx import numpy_helper

# Two maps, 96 anchors, 24 proposals on both levels of regions, 4 classes, 15 rows. Weights are inputs here.
_TEXT = """
<ir_version: 8, opset_import: ["" : 11, "npu" : 1]>
small_detector (
  float[1,3,32,48] image, float[8,3,3,3] w_stem, float[18,8,3,3] w_shift, float[9,8,3,3] w_mask,
  float[8,8,3,3] w_deform, float[8,8,3,3] w_half, float[1,8,1,1] w_object, float[4,8,1,1] w_delta,
  float[1,96,1,4] anchors, float[72,4] w_class
) => (float[15,5] dets, float[15] labels)
<
  int64[3] as_scores = {1, 96, 1}, int64[4] as_boxes = {1, 96, 1, 4},
  float[24,1] images = {0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0}
>
{
    stem = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (image, w_stem)
    features = Relu (stem)
    shift = Conv <pads = [1, 1, 1, 1]> (features, w_shift)
    mask_logits = Conv <pads = [1, 1, 1, 1]> (features, w_mask)
    mask = Sigmoid (mask_logits)
    offsets = Concat <axis = 1> (shift, mask)
    fine = npu.DeformableConv2D <strides = [1, 1], pads = [1, 1], dilations = [1, 1], groups = 1,
        deformable_groups = 1, modulated = 1> (features, w_deform, offsets)
    pooled = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (fine)
    half = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (fine, w_half)
    coarse = Add (pooled, half)
    object_map = Conv (coarse, w_object)
    object_scores = Sigmoid (object_map)
    rpn_scores = Reshape (object_scores, as_scores)
    delta_map = Conv (coarse, w_delta)
    delta_last = Transpose <perm = [0, 2, 3, 1]> (delta_map)
    deltas = Reshape (delta_last, as_boxes)
    rpn_boxes = Add (deltas, anchors)
    proposals, objectness, zeros, count = npu.BatchMultiClassNMS <max_size_per_class = 24,
        max_total_size = 24, iou_threshold = 0.5, score_threshold = 0.0> (rpn_boxes, rpn_scores)
    boxes = Squeeze <axes = [0]> (proposals)
    rois = Concat <axis = 1> (images, boxes)
    regions = npu.RoiExtractor <finest_scale = 7, spatial_scale = [0.5, 0.25], pooled_height = 3,
        pooled_width = 3, sample_num = 2, aligned = 1> (fine, coarse, rois)
    flat = Flatten <axis = 1> (regions)
    class_logits = MatMul (flat, w_class)
    class_scores = Sigmoid (class_logits)
    scores = Unsqueeze <axes = [0]> (class_scores)
    shared_boxes = Unsqueeze <axes = [0, 2]> (boxes)
    found, best, classes, number = npu.BatchMultiClassNMS <max_size_per_class = 10, max_total_size = 15,
        iou_threshold = 0.2, score_threshold = 0.4> (shared_boxes, scores)
    column = Unsqueeze <axes = [2]> (best)
    batched = Concat <axis = 2> (found, column)
    dets = Squeeze <axes = [0]> (batched)
    labels = Squeeze <axes = [0]> (classes)
}
"""
_SCALES = {"w_stem": 1.6, "w_deform": 1.6, "w_class": 2.0}


def write_small_detector(path: Path, *, seed: int = 11) -> None:
    """Write an image [1, 3, 32, 48] -> dets [15, 5], labels [15], with calls in the domain ``npu``."""
    rng = np.random.default_rng(seed)
    model = onnx.parser.parse_model(_TEXT)
    for value in list(model.graph.input)[1:]:
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        scale = _SCALES.get(value.name, 1.0) / np.sqrt(shape[0] if len(shape) == 2 else np.prod(shape[1:]))
        array = _anchors(rng) if value.name == "anchors" else rng.standard_normal(shape) * scale
        model.graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), value.name))
        model.graph.input.remove(value)
    onnx.save(model, path)


def _anchors(rng: np.random.Generator) -> np.ndarray:
    """Return boxes of 6 to 22 pixels, one around each place of the small map."""
    y, x = np.mgrid[2:32:4, 2:48:4].reshape(2, -1).astype(np.float32)
    half = rng.uniform(3, 11, x.size)
    return np.stack([x - half, y - half, x + half, y + half], axis=1)[np.newaxis, :, np.newaxis]
