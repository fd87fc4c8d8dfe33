"""What changed between two models, node by node."""
