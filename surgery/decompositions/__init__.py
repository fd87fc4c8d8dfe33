"""Operators written out in simpler ones: shared by passes that lack a kernel and by ``lower_opset``.

Each function inserts nodes before the one it stands for and returns the values that take the places
of its outputs. The formulas are those of the ONNX operator specification.
"""
