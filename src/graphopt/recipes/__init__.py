"""One file per model: what goes on each arrow."""
