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
        "DeformableConv2D": ("decompose_dcn",),
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
        "MaxPool": ("split_maxpool", "pool3d_to_pool2d", "remove_identity_pool"),
        "Mish": ("decompose_hardswish",),
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
