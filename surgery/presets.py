"""Named lists of passes, as they would be typed."""

from collections.abc import Mapping

AFTER_REPLACING = (
    "static_shapes,scatter_to_concat,remove_identity,normalize_resize,shrink_topk,strided_slice_to_view,"
    "gather_columns_to_slice,negative_gather_index,squeeze_after_transpose,remove_trivial,remove_expand,"
    "merge_reshapes,merge_transposes,merge_slices,topk_int32,int64_to_int32,fuse_batchnorm,fuse_affine,"
    "merge_duplicates"
)
"""For a detector whose suppression and pooling of regions were replaced: nothing stays open, nothing that
Ascend refuses, nothing that hand-made ports removed for speed."""

PRESETS: Mapping[str, str] = {
    "clean": "fold_constants,static_shapes,drop_dropout,remove_zero_states,remove_identity,"
    "remove_trivial,remove_expand,merge_reductions,merge_reshapes,merge_transposes,merge_casts,merge_slices,"
    "merge_concats,merge_duplicates,fuse_batchnorm,fuse_affine,pad_into_conv,remove_pad",
    "detector": "fold_constants,replace_merge_cells,replace_dcn,replace_roi_extractor,replace_nms,"
    + AFTER_REPLACING,
}
