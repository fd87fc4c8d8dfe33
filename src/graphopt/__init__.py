"""graphopt: from a trained PyTorch checkpoint to a compiled, validated, evaluated model."""

import graphopt._checkout  # noqa: F401  (a checkout without symbolic links still finds its folders)

__version__ = "0.1.0"
