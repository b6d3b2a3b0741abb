"""The core names no plugin, and plugins use what the reference shows: as any third party would."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from detzoo.plugins.manifest import core_manifest, read_manifest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "detzoo"
ZOO = sorted(path.parent for path in ROOT.glob("plugins/*/src/*/registry.yaml"))
PACKAGES = [*ZOO, *sorted(path.parent for path in ROOT.glob("examples/*/src/*/registry.yaml"))]
ORDINARY: Final = frozenset({"regions", "set"})
"""Names of components that are words of the field or of Python too: the core's own strings may be them."""


def plugin_names() -> frozenset[str]:
    """Packages, distributions, recipes, and components by ``kind/name``, id and name, of the zoo's plugins."""
    own = {entry.name for entry in read_manifest(core_manifest(), "core").entries}
    names: set[str] = set()
    for package in ZOO:
        manifest = read_manifest(package / "registry.yaml", package.name.removeprefix("detzoo_"))
        names |= {package.name, package.parents[1].name, *manifest.detectors, *(kind.name for kind in manifest.kinds)}
        for entry in manifest.entries:
            names |= {entry.id, f"{entry.kind}/{entry.name}"} | ({entry.name} - own)
    return frozenset(names - ORDINARY)


def named(source: str, names: frozenset[str]) -> Iterator[str]:
    """``line: name`` of each import and each string that names a plugin; docstrings may give examples."""
    tree = ast.parse(source)
    told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            found = {node.value, *re.findall(r"[\w/.-]+", node.value)} if "detzoo" in node.value else {node.value}
        elif isinstance(node, ast.Import):
            found = {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found = {(node.module or "").partition(".")[0]}
        else:
            continue
        yield from (f"{node.lineno}: {name}" for name in sorted(found & names))


def imported(source: str) -> Iterator[tuple[int, str, str]]:
    """(line, module, name) of each import of the core; the name is empty where the module itself is imported."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, a.name, "") for a in node.names if a.name.partition(".")[0] == "detzoo")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "detzoo":
            yield from ((node.lineno, str(node.module), alias.name) for alias in node.names)


def documented() -> frozenset[str]:
    """Modules and objects that the pages of the reference show."""
    pages = (ROOT / "docs" / "reference").glob("*.md")
    return frozenset(re.findall(r"^::: (\S+)", "\n".join(page.read_text(encoding="utf-8") for page in pages), re.M))


def is_public(module: str, name: str, shown: frozenset[str]) -> bool:
    """Whether the reference shows it, or its package re-exports what a shown module holds."""
    private = any(part.startswith("_") for part in (*module.split("."), name))
    package = any(one.startswith(f"{module}.") for one in shown) and module in ("detzoo.interfaces", "detzoo.testing")
    return not private and (module in shown or f"{module}.{name}" in shown or package)


def test_the_core_names_no_plugin() -> None:
    names = plugin_names()
    assert len(names) > 200  # the manifests were found
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted(CORE.rglob("*.py"))
        for line in named(path.read_text(encoding="utf-8"), names)
    ]
    assert found == []


@pytest.mark.parametrize(
    "source", ["import zoo_x.head", "from zoo_x import y", 'a = {("head", "x"): 1}', 'b = "zoo-x of detzoo"']
)
def test_a_name_in_code_is_found(source: str) -> None:
    assert len(list(named(source, frozenset({"zoo_x", "x", "zoo-x"})))) == 1


def test_an_example_in_a_docstring_is_none() -> None:
    assert list(named('def f():\n    """x"""\n', frozenset({"x"}))) == []


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_plugins_import_the_public_api_alone(package: Path) -> None:
    shown = documented()
    seen, found = 0, []
    for path in sorted(package.rglob("*.py")):
        for line, module, name in imported(path.read_text(encoding="utf-8")):
            seen += 1
            if not is_public(module, name, shown):
                found.append(f"{path.relative_to(ROOT)}:{line}: {module} {name}".rstrip())
    assert found == []
    assert seen > 0


@pytest.mark.parametrize(
    ("source", "public"),
    [
        ("from detzoo.types import Level", True),
        ("from detzoo.interfaces import Neck", True),
        ("from detzoo.schema.nodes import Scope", True),
        ("from detzoo.ops.boxes import _most", False),
        ("from detzoo.schema.signature import schema_of", False),
        ("import detzoo.training.loop", False),
    ],
)
def test_what_is_public(source: str, public: bool) -> None:
    shown = frozenset({"detzoo.types", "detzoo.interfaces.neck", "detzoo.schema.nodes.Scope", "detzoo.ops.boxes"})
    ((_, module, name),) = imported(source)
    assert is_public(module, name, shown) is public


def test_torchvisions_detectors_are_a_reference_for_tests_alone() -> None:
    """Nothing that is installed imports ``torchvision.models.detection``, or is given a name of it to import."""
    sources = [*CORE.rglob("*.py"), *(path for package in PACKAGES for path in package.rglob("*.py"))]
    assert len(sources) > 200
    naming = [
        path.name for path in sources if re.search(r"models\.detection|models import detection", path.read_text())
    ]
    assert naming == []
