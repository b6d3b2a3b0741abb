"""What a distribution imports stands among its dependencies or extras; what only tests need is never imported."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = {"cv2": "opencv-python-headless", "yaml": "pyyaml", "PIL": "pillow", "sklearn": "scikit-learn"}
"""Packages whose distribution is called otherwise."""
FOR_DEVELOPERS = ("dev", "docs")
RUN_BY = {"pytest"}
"""Runs the kit of ``detzoo.testing``, which imports it."""


def distributions() -> list[Path]:
    return [
        ROOT,
        *sorted(path.parent for part in ("plugins", "examples") for path in ROOT.glob(f"{part}/*/pyproject.toml")),
    ]


def imported(folder: Path) -> dict[str, str]:
    """The first part of every import by name, deferred ones included, with one place of each."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names = [node.module]
            else:
                continue
            for name in names:
                found.setdefault(name.partition(".")[0], f"{path.relative_to(ROOT)}:{node.lineno}")
    return found


def declared(distribution: Path) -> set[str]:
    """Names of dependencies and of users' extras, in small letters with hyphens."""
    project = tomllib.loads((distribution / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project.get("optional-dependencies", {})
    lines = [
        *project["dependencies"],
        *(line for name in extras if name not in FOR_DEVELOPERS for line in extras[name]),
    ]
    return {re.split(r"[^\w.-]", line, maxsplit=1)[0].lower().replace("_", "-") for line in lines}


@pytest.mark.parametrize("distribution", distributions(), ids=lambda path: path.name)
def test_what_is_imported_is_declared(distribution: Path) -> None:
    source = ROOT / "detzoo" if distribution == ROOT else distribution / "src"
    own = {source.name, *(path.name for path in source.iterdir())}
    allowed = declared(distribution) | (declared(ROOT) if distribution != ROOT else set())
    strange = {
        name: place
        for name, place in imported(source).items()
        if name not in sys.stdlib_module_names
        and name not in own | RUN_BY
        and NAMES.get(name, name).lower().replace("_", "-") not in allowed
    }
    assert not strange, strange
