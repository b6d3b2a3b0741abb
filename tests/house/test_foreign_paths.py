"""Paths come from outside: nobody asks pathlib what stands there, which raises for a name that is too long."""

import ast
from pathlib import Path

import pytest

CORE = Path(__file__).parents[2] / "detzoo"
ASKS = ("exists", "is_file", "is_dir", "is_symlink", "is_fifo", "is_socket", "is_block_device", "is_char_device")
# Objects that are no paths but have methods of these names: file, the call as it stands there, and what it asks.
OTHERS = {
    ("detzoo/runtime/foreign_files.py", "entry.is_dir()"): "an entry of os.scandir; what it raises is caught",
    ("detzoo/runtime/foreign_files.py", "entry.is_symlink()"): "the same",
    ("detzoo/plugins/new_plugin.py", "item.is_dir()"): "a template inside the package",
}


def asked(source: str) -> list[tuple[int, str]]:
    """(line, code) of each call."""
    if not any(f".{name}(" in source for name in ASKS):
        return []  # without parsing it
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [
        (call.lineno, ast.unparse(call))
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr in ASKS and ast.unparse(call.func.value) != "os.path"
    ]


def test_what_stands_at_a_path_is_asked_in_one_place() -> None:
    found, seen = [], set()
    for path in sorted(CORE.rglob("*.py")):
        name = path.relative_to(CORE.parent).as_posix()
        for line, code in asked(path.read_text(encoding="utf-8")) if "templates" not in path.parts else []:
            seen.add((name, code))
            if (name, code) not in OTHERS:
                found.append(f"{name}:{line}: {code}")
    assert found == [], "take is_there, is_folder or is_ordinary of detzoo.runtime.foreign_files"
    assert set(OTHERS) - seen == set(), "these are gone: take them off the list"


@pytest.mark.parametrize(
    ("source", "count"),
    [("Path(a).exists()", 1), ("(a / b).is_dir() and c.is_file()", 2), ("is_folder(a)", 0), ("os.path.exists(a)", 0)],
)
def test_what_counts_as_asking(source: str, count: int) -> None:
    assert len(asked(source)) == count
