"""The networks defined here, one per file."""
