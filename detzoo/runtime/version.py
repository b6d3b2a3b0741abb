"""The version of the core, written once: in pyproject.toml."""

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final


def _version() -> str:
    """Of the installed distribution; of the checkout where nothing is installed."""
    try:
        return version("detzoo")
    except PackageNotFoundError:
        text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
        return str(tomllib.loads(text)["project"]["version"])


__version__: Final = _version()
