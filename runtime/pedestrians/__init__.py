"""Seeded little pedestrians, drawn so that each of PETA's 35 attributes shows."""
