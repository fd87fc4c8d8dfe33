"""Drawn street scenes with a class for each pixel, for the synthetic VOC data set."""
