"""Matchers that more than one plugin uses."""
