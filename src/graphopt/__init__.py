"""graphopt: from a trained PyTorch checkpoint to a compiled, validated, evaluated model."""

import graphopt._checkout
import graphopt._lazy_sympy  # noqa: F401  (onnx-ir starts in half the time)

__version__ = "0.1.0"
