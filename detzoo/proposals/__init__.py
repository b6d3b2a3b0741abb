"""Proposals: made, evaluated and shown."""
