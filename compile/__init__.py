"""From ONNX to an artefact that a target runs."""

from graphopt.compile.target import Plan, Target, find_target, list_targets

__all__ = ["Plan", "Target", "find_target", "list_targets"]
