"""Imports point downwards: no room of the core imports one above it, at the top of a file or inside a function."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

CORE = Path(__file__).parents[2] / "detzoo"

# From the ground up. A room may import those before it; "what two rooms need lives in the lowest room both may see".
ROOMS = (
    "errors",
    "runtime",  # devices, files, locks, images, progress: nothing that knows a detector
    "feature",  # what components give and need, in words: free of torch
    "types",
    "schema",  # YAML with positions, signatures, typed nodes: free of torch
    "plugins",
    "recipes",
    "ops",
    "prediction",  # below interfaces: Detector.predict is made of it
    "export",  # the same: Detector.export
    "interfaces",
    "weights",
    "components",
    "detectors",  # their stages see training through interfaces.StageContext
    "data",
    "builder",
    "foreign",  # somebody else's detectors; reads detzoo's own exports with the builder
    "detector_loading",
    "evaluation",
    "training",
    "benchmark",
    "inspection",
    "testing",
    "matrix",
    "experiments",
    "comparison",
    "proposals",
    "publishing",  # reads what training, evaluation and comparison know of a run
    "cli",
)
# An import inside a function keeps torch or another heavy package out of start-up, and has no other reason:
# `detzoo list` and every --help come without torch. Rooms whose modules need torch anyway import at the top, but for
# what a command may never use.
WITH_TORCH = ("training", "evaluation", "benchmark", "experiments", "comparison", "proposals")
OFTEN_UNUSED = {"detzoo.experiments.ray_cluster", "detzoo.comparison.curve_files"}  # Ray; matplotlib
ENTRANCES = ("__init__", "__main__")  # nothing below imports these


def room(module: str) -> str:
    """``detzoo.data.coco`` -> ``data``; the package itself -> ``__init__``."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def modules() -> dict[str, Path]:
    """Every module of the core by its dotted name, templates of plugins left out."""
    found = {}
    for path in sorted(CORE.rglob("*.py")):
        relative = path.relative_to(CORE.parent).with_suffix("")
        if "templates" not in relative.parts:
            found[".".join(relative.parts).removesuffix(".__init__")] = path
    return found


@cache
def parsed(path: Path) -> ast.Module:
    """The module's tree."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path) -> list[tuple[int, str]]:
    """(line, module) of each import of the core that runs, deferred ones included.

    What stands below ``if TYPE_CHECKING`` names types and loads nothing.
    """
    tree = parsed(path)
    for_types = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"
        for statement in block.body
        for node in ast.walk(statement)
    }
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names if alias.name.split(".")[0] == "detzoo"]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "detzoo":
            assert node.module is not None
            whole = node.module != "detzoo"
            found += [(node.lineno, node.module if whole else f"detzoo.{alias.name}") for alias in node.names]
    return found


def test_every_room_is_on_the_list() -> None:
    found = {room(name) for name in modules()} - set(ENTRANCES)
    assert found == set(ROOMS)


def test_imports_point_downwards() -> None:
    rank = {name: position for position, name in enumerate(ROOMS)}
    known = modules()
    upward, seen = [], 0
    for name, path in known.items():
        if room(name) in ENTRANCES:
            continue
        for line, target in imports(path):
            seen += 1
            above = room(target)
            if rank.get(above, len(ROOMS)) > rank[room(name)]:
                upward.append(f"{path.relative_to(CORE.parent)}:{line} imports {target}")
    assert upward == []
    assert seen > 1000  # the walk found what it judges


def deferred(path: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of the imports of the core inside functions."""
    tree, whole = parsed(path), list(imports(path))
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            inside = {node.lineno for node in ast.walk(function) if isinstance(node, ast.Import | ast.ImportFrom)}
            yield from ((line, target) for line, target in whole if line in inside)


def test_deferred_imports_keep_start_up_light() -> None:
    needless = {
        f"{path.relative_to(CORE.parent)}:{line} imports {target}"
        for name, path in modules().items()
        if room(name) in WITH_TORCH
        for line, target in deferred(path)
        if target not in OFTEN_UNUSED
    }
    assert needless == set()


@pytest.mark.parametrize("source", ["def f():\n    from detzoo.cli import main", "import detzoo.cli.list as x"])
def test_a_deferred_import_counts(source: str, tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(source)
    assert [room(target) for _, target in imports(path)] == ["cli"]


def test_an_import_for_types_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from detzoo.cli import main\n")
    assert imports(path) == []
