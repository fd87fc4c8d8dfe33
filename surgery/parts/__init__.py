"""Cut models apart and join them."""
