"""The mapping that a data.yaml holds: no key twice, and no aliases that fill the memory or lead in a circle."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from detzoo.errors import DataError
from detzoo.runtime.foreign_files import read_text

_MOST_BYTES: Final = 4 * 2**20
"""Names of 100,000 classes need less."""
_MOST_VALUES: Final = 1_000_000
"""With all aliases written out: nine lines of aliases of aliases stand for a billion."""


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping with text keys.

    Raises:
        DataError: it is anything else, too large, or a key stands twice.
    """
    loader = yaml.SafeLoader(read_text(path, what="data.yaml", limit=_MOST_BYTES))
    try:
        node = loader.get_single_node()
        if node is not None:
            _check(node, path)
        content = None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise DataError(f"{path}:{line}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:  # ValueError: a number of thousands of digits
        raise DataError(f"{path}: cannot be read: {error}") from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise DataError(f"{path}: a data.yaml holds keys and values, as `format: voc`")
    return content


def _check(root: yaml.Node, path: Path) -> None:
    """Reject keys that stand twice, circles, and more values than anybody writes."""
    values: dict[yaml.Node, int] = {}
    above: set[yaml.Node] = set()

    def count(node: yaml.Node) -> int:
        if node in above:
            raise DataError(
                f"{path}:{node.start_mark.line + 1}: an alias stands within what it stands for; write it out"
            )
        if node not in values:
            above.add(node)
            values[node] = 1 + sum(count(part) for part in _parts(node, path))
            above.remove(node)
        if values[node] > _MOST_VALUES:
            raise DataError(
                f"{path}:{node.start_mark.line + 1}: more than {_MOST_VALUES:,} values, aliases written out"
            )
        return values[node]

    count(root)


def _parts(node: yaml.Node, path: Path) -> list[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    if not isinstance(node, yaml.MappingNode):
        return []
    seen: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            line = key.start_mark.line + 1
            first = seen.setdefault((key.tag, key.value), line)
            if first != line:
                raise DataError(f"{path}:{line}: the key {key.value!r} stands in line {first} already; which is right?")
    return [part for pair in node.value for part in pair]
