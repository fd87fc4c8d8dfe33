"""Which passes mend what a target refuses: one plain table for all verbs that give advice.

Whether a pass really applies is for its ``sites`` to say; the table only says what to try.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from graphopt.surgery.catalogue import pass_names

_RESIZE = ("replace_merge_cells", "static_shapes", "normalize_resize", "resize_5d", "resize_mode")
_REDUCE = ("merge_reductions", "decompose_l2norm")
_RNN = ("split_rnn", "remove_zero_states")

BY_OPERATOR: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "AveragePool": ("split_avgpool", "pool3d_to_pool2d", "global_pool_to_reduce"),
        "BatchNormalization": ("fuse_batchnorm", "split_batchnorm"),
        "Clip": ("clip_bounds",),
        "Conv": ("split_large_kernel", "conv1d_to_conv2d"),
        "ConstantOfShape": ("static_shapes",),
        "DeformConv": ("replace_dcn", "decompose_dcn"),
        "DeformableConv2D": ("split_deformable_groups", "decompose_dcn"),
        "Dropout": ("drop_dropout",),
        "Einsum": ("decompose_einsum",),
        "Expand": ("static_shapes", "remove_expand"),
        "GRU": _RNN,
        "Gather": ("negative_gather_index", "gather_columns_to_slice", "gather_to_split"),
        "Gelu": ("decompose_gelu",),
        "Gemm": ("gemm_to_matmul",),
        "GlobalAveragePool": ("global_pool_to_reduce",),
        "GlobalMaxPool": ("global_pool_to_reduce",),
        "GroupNormalization": ("decompose_groupnorm",),
        "HardSwish": ("decompose_hardswish",),
        "LSTM": _RNN,
        "LayerNormalization": ("decompose_layernorm",),
        "LogSoftmax": ("softmax_axis_last",),
        "LpNormalization": ("decompose_l2norm",),
        "MMCVDeformConv2d": ("replace_dcn", "decompose_dcn"),
        "MMCVModulatedDeformConv2d": ("replace_dcn", "decompose_dcn"),
        "MMCVRoiAlign": ("replace_roi_extractor",),
        "MaxPool": ("split_maxpool", "pool3d_to_pool2d", "remove_identity_pool"),
        "Mish": ("decompose_hardswish",),
        "NPUDeformableConv2d": ("replace_dcn", "decompose_dcn"),
        "NonMaxSuppression": ("replace_nms",),
        "NonZero": ("replace_nms", "replace_roi_extractor"),
        "PRelu": ("prelu_slope",),
        "Pad": ("remove_pad", "pad_into_conv", "reflection_pad"),
        "RNN": _RNN,
        "Range": ("static_shapes",),
        "ReduceL2": ("decompose_l2norm",),
        "ReduceMean": _REDUCE,
        "ReduceSum": _REDUCE,
        "Resize": _RESIZE,
        "RoiAlign": ("replace_roi_extractor",),
        "ScatterND": ("replace_roi_extractor",),
        "Shape": ("static_shapes",),
        "Slice": ("merge_slices",),
        "Softmax": ("softmax_axis_last",),
        "Tile": ("static_shapes", "remove_expand"),
        "TopK": ("replace_nms", "topk_int32"),
        "Upsample": _RESIZE,
    }
)
"""By the operator that is refused, as graphs name it; the most direct pass first."""

BY_ASPECT: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "opset": ("lower_opset",),
        "int64": ("int64_to_int32", "topk_int32"),
        "dynamic": ("static_shapes",),
    }
)
"""By what is wrong with a node or the model, whatever the operator."""


_COMPUTED = ("static_shapes", "fold_constants", "replace_merge_cells", "normalize_resize", "remove_expand")
_ROUTED = ("replace_roi_extractor", "replace_nms")

BY_LIMIT: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "batchnorm_rank": ("fuse_batchnorm", "split_batchnorm"),
        "clip_bounds": ("clip_bounds",),
        "computed_size": (*_COMPUTED, *_ROUTED),
        "constant_form": ("fold_constants",),
        "conv_kernel": ("split_large_kernel",),
        "conv_width": ("conv1d_to_conv2d",),
        "data_dependent": _ROUTED,
        "dtype": ("static_shapes", "fold_constants", *_ROUTED),
        "dynamic": ("static_shapes", *_ROUTED),
        "dynamic_input": ("static_shapes",),
        "einsum": ("decompose_einsum",),
        "empty_input": ("static_shapes", "fold_constants", "remove_trivial"),
        "fill_shape": ("static_shapes", "fold_constants"),
        "half_range": ("clamp_constants",),
        "int64": ("static_shapes", "fold_constants", *_ROUTED, "topk_int32", "int64_to_int32"),
        "mean_single": ("remove_trivial",),
        "model_opset": ("lower_opset",),
        "negative_index": ("static_shapes", "negative_gather_index", "gather_columns_to_slice"),
        "nms_boxes": ("replace_nms",),
        "nms_computed": ("static_shapes", "fold_constants", "replace_nms"),
        "pad_axes": ("lower_opset",),
        "pad_mode": ("reflection_pad",),
        "pad_mode_slow": ("reflection_pad",),
        "pad_value": ("pad_into_conv",),
        "pool_window": ("split_avgpool", "split_maxpool", "pool3d_to_pool2d"),
        "prelu_slope": ("prelu_slope",),
        "reduce_all": ("set_reduce_axes", "replace_nms"),
        "reduce_noop": ("lower_opset",),
        "resize_5d": ("resize_5d",),
        "resize_cubic": ("resize_mode",),
        "resize_ignored": ("normalize_resize", "lower_opset"),
        "resize_inputs": ("normalize_resize",),
        "resize_rounding": ("replace_merge_cells",),
        "rnn_bidirectional": ("split_rnn",),
        "single_split": ("remove_trivial",),
        "slice_step": ("strided_slice_to_view", "replace_nms"),
        "slice_vector": ("static_shapes", "fold_constants", *_ROUTED),
        "topk_computed": ("static_shapes", "fold_constants", "replace_nms"),
        "topk_int64": ("replace_nms", "topk_int32"),
        "uneven_split": ("lower_opset",),
    }
)
"""By the limit that a node breaks: codes of ``compile.support`` findings."""

CHOICES: Mapping[str, str] = MappingProxyType(
    {
        "dynamic_input": "set_batch:size=N or static_shapes:shapes=NAME=1x3xHxW, as you choose",
        "model_opset": "lower_opset:to=N, as you choose",
        "ir_version": "graphopt compile, whose copies have an old one",
        "nms_float32": "ATC's default precision, force_fp16, which makes it float16; must_keep_origin_dtype "
        "leaves it to the chip's CPU or fails",
        "nms_candidates": "replace_nms:max_candidates=4080 on the graph that has its NonMaxSuppression",
    }
)
"""By limit: what mends it once the user has said something."""

WRITTEN_WITHOUT: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "nms_float32": ("replace_nms", "boundary=fp16"),
        "nms_candidates": ("replace_nms", "max_candidates=4080"),
    }
)
"""By limit of an operator that a pass writes: the pass, and its option that avoids it and changes numbers."""

_ONLY_OPERATOR = ("not_registered", "opset", "function")

ORDER: tuple[str, ...] = (
    "decompose_gelu",
    "decompose_groupnorm",
    "decompose_layernorm",
    "decompose_hardswish",
    "lower_opset",
    "static_shapes",
    "fold_constants",
    "replace_merge_cells",
    "replace_dcn",
    "replace_roi_extractor",
    "replace_nms",
    "drop_dropout",
    "remove_trivial",
    "remove_expand",
    "fuse_batchnorm",
    "split_batchnorm",
    "decompose_einsum",
    "decompose_l2norm",
    "normalize_resize",
    "resize_5d",
    "reflection_pad",
    "pad_into_conv",
    "pool3d_to_pool2d",
    "split_avgpool",
    "split_maxpool",
    "split_large_kernel",
    "conv1d_to_conv2d",
    "prelu_slope",
    "clip_bounds",
    "split_rnn",
    "set_reduce_axes",
    "strided_slice_to_view",
    "gather_columns_to_slice",
    "negative_gather_index",
    "topk_int32",
    "int64_to_int32",
)
"""In which passes mend one after another: what removes whole regions first, what only narrows last."""

OPTIONS: Mapping[tuple[str, str], Mapping[str, object]] = MappingProxyType(
    {
        ("conv_width", "conv1d_to_conv2d"): MappingProxyType({"length": "height"}),
        ("resize_rounding", "replace_merge_cells"): MappingProxyType({"coordinates": "half_pixel"}),
    }
)
"""Options that a pass needs to mend a limit."""


def mends(op_types: Iterable[str] = (), aspects: Iterable[str] = ()) -> tuple[str, ...]:
    """Return names of passes to try; what concerns the whole model first, each once.

    Args:
        op_types: operators that are refused, as graphs name them.
        aspects: keys of ``BY_ASPECT``.
    """
    known = pass_names()
    wanted = [name for aspect in aspects for name in BY_ASPECT.get(aspect, ())]
    wanted += [name for op_type in op_types for name in BY_OPERATOR.get(op_type, ())]
    return tuple(name for name in dict.fromkeys(wanted) if name in known)


def mends_limit(code: str, op_type: str) -> tuple[str, ...]:
    """Return names of passes to try against one finding of ``compile.support``, the most direct first.

    Args:
        code: of the finding.
        op_type: of the node, as graphs name it; empty for the model as a whole.
    """
    if code in _ONLY_OPERATOR:
        return mends([op_type], ["opset"] if code == "opset" else [])
    known = pass_names()
    return tuple(name for name in BY_LIMIT.get(code, ()) if name in known)
