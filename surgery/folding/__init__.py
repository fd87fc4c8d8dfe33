"""Evaluate what is constant."""
