"""Detectors side by side: what is measured, the table and the page."""
