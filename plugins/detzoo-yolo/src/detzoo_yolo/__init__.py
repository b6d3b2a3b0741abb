"""YOLO v1, v2 and v3 for detzoo. The recipes stand in ``registry.yaml``; importing this package loads nothing."""
