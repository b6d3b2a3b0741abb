"""Necks that more than one architecture uses."""
