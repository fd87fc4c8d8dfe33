"""Start a new pass: a small model around one node, a pass that finds it, a test that is not yet true."""
