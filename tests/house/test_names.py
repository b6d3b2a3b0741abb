"""One name for one thing: no public class name of the core stands in two modules."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

CORE = Path(__file__).parents[2] / "detzoo"


def defined_twice(root: Path) -> dict[str, list[str]]:
    """Name -> the modules that define a public class of it at their top, where there are several."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(root.rglob("*.py")):
        if "templates" in path.parts:  # of plugins
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(path.relative_to(root).as_posix())
    assert found, root
    return {name: modules for name, modules in found.items() if len(modules) > 1}


def test_no_public_class_name_is_defined_twice() -> None:
    assert defined_twice(CORE) == {}


def test_two_classes_of_one_name_are_found(tmp_path: Path) -> None:
    for name, text in (("a", "class Plan: ...\nclass _Own: ..."), ("b", "class Plan: ...\nclass _Own: ...")):
        (tmp_path / f"{name}.py").write_text(text)
    assert defined_twice(tmp_path) == {"Plan": ["a.py", "b.py"]}
    (tmp_path / "b.py").unlink()
    assert defined_twice(tmp_path) == {}


def test_a_folder_without_classes_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        defined_twice(tmp_path)
