"""Named lists of passes, as they would be typed."""

from collections.abc import Mapping

PRESETS: Mapping[str, str] = {
    "clean": "static_shapes,fold_constants,remove_identity,merge_reshapes,merge_duplicates,"
    "fuse_batchnorm,remove_pad",
}
