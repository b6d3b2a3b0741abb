"""RetinaNet, FCOS, ATSS, GFL and NanoDet for detzoo.

The recipes stand in ``registry.yaml``; importing this package loads nothing.
"""
