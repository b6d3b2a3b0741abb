"""Post-processing that more than one plugin uses."""
