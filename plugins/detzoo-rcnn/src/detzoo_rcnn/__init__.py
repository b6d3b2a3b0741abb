"""Selective search and other region proposals, R-CNN and SPP-net with SVMs for detzoo.

The recipes stand in ``registry.yaml``; importing this package loads nothing.
"""
