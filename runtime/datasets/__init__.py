"""Datasets of the runtime, one per file."""
