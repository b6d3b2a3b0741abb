"""The matrix is of what is installed, not of what other tests registered by hand."""

from collections.abc import Iterator

import pytest

from detzoo.matrix.frames import example, frames, resolved
from detzoo.matrix.trial import made_small
from detzoo.plugins.registry import get_registry


@pytest.fixture(autouse=True, scope="module")
def only_what_is_installed() -> Iterator[None]:
    """A registry of its own for each file."""
    for cached in (get_registry, resolved, frames, example, made_small):
        cached.cache_clear()
    yield
    for cached in (get_registry, resolved, frames, example, made_small):
        cached.cache_clear()
