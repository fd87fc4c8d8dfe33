"""Metrics of the runtime, one per file."""
