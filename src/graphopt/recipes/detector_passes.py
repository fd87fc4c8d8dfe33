"""The steps that published detectors share, behind those that replace what a target has operators for."""

from graphopt.surgery import PassStep

CLEAN = (
    PassStep("static_shapes", {"require_static": True}),
    PassStep("remove_identity"),
    PassStep("normalize_resize"),
    PassStep("shrink_topk"),
    PassStep("strided_slice_to_view"),
    PassStep("gather_columns_to_slice"),
    PassStep("negative_gather_index"),
    PassStep("squeeze_after_transpose"),
    PassStep("remove_trivial"),
    PassStep("remove_expand"),
    PassStep("merge_reshapes"),
    PassStep("merge_transposes"),
    PassStep("merge_slices"),
    PassStep("topk_int32"),
    PassStep("int64_to_int32"),
    PassStep("fuse_batchnorm"),
    PassStep("fuse_affine"),
    PassStep("merge_duplicates"),
)
"""Nothing stays open, nothing that the target refuses, nothing that a hand-made port removed for speed."""
