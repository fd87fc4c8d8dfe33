"""What each kind of model is scored by, one task per file."""
