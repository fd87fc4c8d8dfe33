"""What the post-processing of a detector does, read from its nodes: candidates, suppression, results."""
