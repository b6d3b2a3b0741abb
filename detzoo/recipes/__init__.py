"""Recipes: files, inheritance, overrides, checking and describing; free of torch."""
