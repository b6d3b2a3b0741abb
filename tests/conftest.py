"""Fixtures of the whole suite."""

import gc
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

import pytest

from detzoo.plugins import manager
from detzoo.plugins.registry import Registry, get_registry

SHARED = Path(__file__).parents[2] / "shared"
TOY_ZOO = Path(__file__).parent / "toy_zoo"
"""A folder with one installed plugin, its ``.dist-info`` included, as ``sys.path`` would hold it."""


def pytest_collection_finish() -> None:
    """Keep what was imported out of garbage collection: every training collects, and would look at all of it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with real photographs and pretrained weights; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"real data not found at {SHARED}")
    return SHARED


@pytest.fixture
def toy_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """The registry of this process for one test: the core, and the plugin in ``tests/toy_zoo``; nothing else."""
    monkeypatch.syspath_prepend(TOY_ZOO)
    points = [point for found in distributions(path=[str(TOY_ZOO)]) for point in found.entry_points]
    monkeypatch.setattr(manager, "entry_points", lambda group: [point for point in points if point.group == group])
    for variable in ("DETZOO_PLUGINS", "DETZOO_DISABLE", "DETZOO_STRICT"):
        monkeypatch.delenv(variable, raising=False)
    get_registry.cache_clear()
    yield get_registry()
    get_registry.cache_clear()
