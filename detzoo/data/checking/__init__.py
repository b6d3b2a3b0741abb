"""What is wrong with a dataset, and its statistics."""
