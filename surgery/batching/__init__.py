"""Follow the batch axis through a graph and change its size."""
