"""From samples to batches: transforms, targets, the loader."""
