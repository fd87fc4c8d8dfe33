"""Compile targets, one per file."""
