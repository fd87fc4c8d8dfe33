"""Give groups of 1-D operators one more axis."""
