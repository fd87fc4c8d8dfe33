"""What is known of the elements of tensors: bounds, signs, equality, what a dtype can hold."""
