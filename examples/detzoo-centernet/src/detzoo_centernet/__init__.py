"""CenterNet for detzoo. The recipe stands in ``registry.yaml``; importing this package loads nothing."""
