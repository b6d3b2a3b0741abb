"""detzoo: a plugin-based zoo of object detectors.

Importing this package loads neither torch nor any plugin; the functions below load what they need when called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from detzoo.runtime.version import __version__

if TYPE_CHECKING:
    from detzoo.builder import build, load
    from detzoo.data import open_dataset
    from detzoo.evaluation import evaluate
    from detzoo.foreign.detector import load_foreign
    from detzoo.plugins.registry import list_detectors
    from detzoo.runtime.example_image import example_image
    from detzoo.training import train
    from detzoo.weights.detector import convert_weights

_LAZY = {
    "build": "detzoo.builder",
    "convert_weights": "detzoo.weights.detector",
    "evaluate": "detzoo.evaluation",
    "example_image": "detzoo.runtime.example_image",
    "list_detectors": "detzoo.plugins.registry",
    "load": "detzoo.builder",
    "load_foreign": "detzoo.foreign.detector",
    "open_dataset": "detzoo.data",
    "train": "detzoo.training",
}

__all__ = [
    "__version__",
    "build",
    "convert_weights",
    "evaluate",
    "example_image",
    "list_detectors",
    "load",
    "load_foreign",
    "open_dataset",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    module = importlib.import_module(_LAZY[name])
    globals()[name] = getattr(module, name)
    return globals()[name]
