"""Dataset formats: readers, writers, and how the format of a folder is recognised."""
