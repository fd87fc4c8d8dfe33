"""Compare what was fed to a device with what a recipe would have fed, and name the difference."""
