"""What ATC wants of a node: one file per family of operators, each with a ``RULES`` by operator."""
