"""Named lists of passes, as they would be typed."""

from collections.abc import Mapping

PRESETS: Mapping[str, str] = {
    "clean": "fold_constants,static_shapes,remove_identity,merge_reshapes,merge_duplicates,"
    "fuse_batchnorm,remove_pad",
}
