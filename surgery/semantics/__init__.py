"""What standard operators compute, whatever their opset and spelling: worked out once for all passes."""
