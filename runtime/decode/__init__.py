"""Decode of the runtime, one per file."""
