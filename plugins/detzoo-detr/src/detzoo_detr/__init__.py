"""DETR for detzoo. The recipes stand in ``registry.yaml``; importing this package loads nothing."""
