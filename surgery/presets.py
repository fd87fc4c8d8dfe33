"""Named lists of passes, as they would be typed."""

from collections.abc import Mapping

PRESETS: Mapping[str, str] = {
    "clean": "fold_constants,static_shapes,drop_dropout,remove_zero_states,remove_identity,"
    "remove_trivial,remove_expand,merge_reductions,merge_reshapes,merge_transposes,merge_casts,merge_slices,"
    "merge_concats,merge_duplicates,fuse_batchnorm,fuse_affine,pad_into_conv,remove_pad",
}
