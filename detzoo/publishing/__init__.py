"""Trained detectors for others: what is uploaded, its card, and the upload."""
