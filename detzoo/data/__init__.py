"""Datasets: readers, transforms, preparation and the loader; ``open_dataset`` is the entry point."""

from detzoo.data.dataset import Dataset
from detzoo.data.formats.opening import list_splits, open_dataset

__all__ = ["Dataset", "list_splits", "open_dataset"]
