"""What `graphopt export` can export besides recipes: one file per first word."""
