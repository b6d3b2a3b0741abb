"""A photograph that comes with the package, for first steps and tests of an installation."""

from __future__ import annotations

from pathlib import Path


def example_image() -> Path:
    """Path of a JPEG of 512x600 px (width x height): a portrait of Rear Admiral Grace Hopper.

    Source: Naval History and Heritage Command, public domain.
    """
    return Path(__file__).with_name("grace_hopper.jpg")
