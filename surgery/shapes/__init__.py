"""Shapes, and the tensors computed from them."""
