"""Run passes on a file and prove what they did."""
