"""The verbs, one per file; each defines ``command``."""
