"""Losses that more than one plugin uses."""
