"""Fast, Faster, Mask and Cascade R-CNN and R-FCN for detzoo.

The recipes stand in ``registry.yaml``; importing this package loads nothing.
"""
