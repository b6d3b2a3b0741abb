"""The version of the core, written once: in pyproject.toml."""

from importlib.metadata import version
from typing import Final

__version__: Final = version("detzoo")
