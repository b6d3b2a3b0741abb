"""Fast, Faster and Mask R-CNN and R-FCN for detzoo.

The recipes stand in ``registry.yaml``; importing this package loads nothing.
"""
