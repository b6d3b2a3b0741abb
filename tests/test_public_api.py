"""``import detzoo``: its names, whatever was imported before them, and nothing heavy until they are used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import detzoo


def output(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_detzoo_imports_neither_torch_nor_pydantic() -> None:
    code = "import sys, detzoo; print(sorted({'torch', 'numpy', 'pydantic', 'yaml', 'pluggy'} & set(sys.modules)))"

    assert output(code) == "[]"


def test_listing_detectors_imports_no_torch() -> None:
    code = "import sys, detzoo; names = detzoo.list_detectors(); print(type(names).__name__, 'torch' in sys.modules)"

    assert output(code) == "list False"


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match=r"^module 'detzoo' has no attribute 'biuld'$"):
        detzoo.biuld  # noqa: B018


BEFORE = (
    "import detzoo",
    "import detzoo; detzoo.load",
    "from detzoo.builder import build_component",
    "import detzoo.builder",
)


def test_build_can_be_called_whatever_was_imported_before() -> None:
    """One interpreter that forgets detzoo in between: each would import torch for seconds."""
    code = f"""
import sys
for before in {BEFORE}:
    exec(before)
    import detzoo
    from detzoo import build
    try:
        detzoo.build("no_such_detector")
    except Exception as error:
        print(str(error)[:16], callable(build), detzoo.build is build)
    for name in [name for name in sys.modules if name.partition(".")[0] == "detzoo"]:
        del sys.modules[name]
"""

    assert output(code).splitlines() == ["unknown detector True True"] * len(BEFORE)
