"""Proposals that more than one plugin uses."""
