"""What tools read of a component is declared on its interface: nobody outside ``interfaces/`` guesses at attributes."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Objects that are not ours, or of which nothing is known yet: file, the guess as it stands there, and why it is right.
FOREIGN = {
    ("detzoo/schema/signature.py", "getattr(hint, '__name__', hint)"): "an annotation may be any object of typing",
    ("detzoo/schema/signature.py", "getattr(hint, 'kind', None)"): "an annotation may be any class, or none",
    ("detzoo/schema/signature.py", "getattr(rule, name, None)"): "each constraint of annotated_types has other limits",
    ("detzoo/schema/yaml_source.py", "getattr(yaml, 'CSafeLoader', yaml.SafeLoader)"): "PyYAML may lack libyaml",
    ("detzoo/schema/yaml_source.py", "getattr(error, 'strerror', None)"): "not every OSError has the system's words",
    ("detzoo/runtime/images.py", "getattr(opened, 'n_frames', 1)"): "Pillow's formats of one frame do not say so",
    ("detzoo/runtime/parallel.py", "hasattr(os, 'sched_getaffinity')"): "not on every system",
    ("detzoo/evaluation/__init__.py", "getattr(dataset, 'split', None)"): "a third party's dataset may have no splits",
    (
        "detzoo/prediction/fold_batch_norm.py",
        "hasattr(module, name)",
    ): "frozen norms of other packages have these statistics",
    (
        "detzoo/prediction/given_images.py",
        "hasattr(images, '__array_interface__')",
    ): "an array, of NumPy or not, is an image",
    (
        "detzoo/prediction/given_images.py",
        "getattr(image, 'filename', None)",
    ): "Pillow sets it on opened files",
    ("detzoo/benchmark/cost.py", "getattr(trace.profiler, 'kineto_results', None)"): "inside torch's profiler",
    ("detzoo/cli/__init__.py", "getattr(module, 'app', None)"): "a command's module has one command or several",
    ("detzoo/plugins/classes.py", "getattr(cls, 'kind', None)"): "what a manifest names may be any object",
    ("detzoo/plugins/entries.py", "getattr(cls, 'kind', None)"): "what a manifest names may be any object",
    ("detzoo/plugins/classes.py", "getattr(cls, '__abstractmethods__', ())"): "a class that is not abstract has none",
}


def files() -> Iterator[Path]:
    """The core but its interfaces, and the plugins; templates are no modules."""
    for path in sorted([*(ROOT / "detzoo").rglob("*.py"), *(ROOT / "plugins").glob("*/src/**/*.py")]):
        if "interfaces" not in path.relative_to(ROOT).parts and "templates" not in path.parts:
            yield path


def guesses(source: str) -> Iterator[tuple[int, str]]:
    """(line, code) of every ``hasattr``, and of every ``getattr`` with a default.

    A ``getattr`` without a default raises where the attribute is missing: it reads fields by name and guesses nothing.
    """
    if "attr(" not in source:
        return  # without parsing it
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        if node.func.id == "hasattr" or (node.func.id == "getattr" and len(node.args) == 3):
            yield node.lineno, ast.unparse(node)


def test_nobody_guesses_at_components() -> None:
    unexplained, seen = [], set()
    for path in files():
        name = path.relative_to(ROOT).as_posix()
        for line, code in guesses(path.read_text(encoding="utf-8")):
            seen.add((name, code))
            if (name, code) not in FOREIGN:
                unexplained.append(f"{name}:{line}: {code}")
    assert unexplained == [], "declare it on the interface; a foreign object goes on the list above, with the reason"
    assert set(FOREIGN) - seen == set(), "these guesses are gone: take them off the list"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("hasattr(detector, 'network')", 1),
        ("def f(d):\n    return getattr(d, 'head', None)", 1),
        ("getattr(getattr(detector, 'box', None), 'head', None)", 2),
        ("getattr(found, name)", 0),
        ("detector.network", 0),
    ],
)
def test_what_counts_as_a_guess(source: str, found: int) -> None:
    assert len(list(guesses(source))) == found
