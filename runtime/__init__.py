"""Run a model over a data set, to the metric of its task."""
