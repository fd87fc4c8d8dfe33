"""What the five parts share; imports none of them."""
