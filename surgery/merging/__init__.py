"""Cells of a feature pyramid in which maps of several sizes are merged."""
