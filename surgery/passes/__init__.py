"""The pass library: one file per pass."""
