"""The models that graphopt knows, one RECIPE per file."""
