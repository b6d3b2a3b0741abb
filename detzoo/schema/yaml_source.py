"""YAML as detzoo reads it: plain values with the file and line of each, and nothing else.

A strict subset of YAML 1.2: ``1e-3`` is a float, ``no`` is a word. Tags, anchors, aliases, duplicate keys and deep
nesting are rejected, so that a recipe from a stranger can neither run code nor fill the memory. Values are built from
parser events in a loop, not by recursion.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import yaml

from detzoo.errors import RecipeError
from detzoo.runtime.foreign_files import is_folder, is_ordinary, is_there
from detzoo.runtime.near_names import nearest_path

Value: TypeAlias = Any
"""None, bool, int, float, str, list of Value, or dict of str to Value."""
Key: TypeAlias = tuple[str | int, ...]

MAX_BYTES: Final = 4_000_000
MAX_DEPTH: Final = 32
TOO_DEEP: Final = f"lists and mappings are nested more than {MAX_DEPTH} deep"
MAX_DIGITS: Final = 18
"""Longer whole numbers are read as floats, which reject what is out of range without long arithmetic."""

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = re.compile(r"[-+]?[0-9]+")
_RADIX = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: Final[dict[str, Value]] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


class Origin(NamedTuple):
    """Where a value was written; line 0 is a command line or a call."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True)
class Document:
    """A parsed file: ``value``, and the mark of every key and element by its path."""

    value: Value
    marks: dict[Key, Origin]
    file: str


def show_key(key: Key) -> str:
    """``("head", "ratios", 2)`` -> ``head.ratios[2]``."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def read(path: Path) -> Document:
    """Read and parse a file.

    Raises:
        RecipeError: it is missing, too large, not text, or not the YAML described above.
    """
    try:
        if is_there(path) and not is_ordinary(path):
            raise RecipeError(f"{path}: is a {'folder' if is_folder(path) else 'device'}; expected a YAML file")
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        hint = nearest_path(path, lambda one: one.suffix in (".yaml", ".yml"))
        raise RecipeError(f"{path}: cannot be read ({reason}){f'; {hint}' if hint else ''}") from None
    if len(data) > MAX_BYTES:
        raise RecipeError(f"{path}: is too large; a recipe file has at most {MAX_BYTES:,} bytes")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise RecipeError(f"{path}:1: is UTF-16 text; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise RecipeError(f"{path}:{line}: byte {error.start} is not UTF-8; expected a text file in UTF-8") from None
    return parse(text, str(path))


def parse(text: str, file: str) -> Document:
    """Parse one document; ``file`` is used in messages only."""
    builder = _Builder(file)
    found = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if found:
        line = text.count("\n", 0, found.start()) + 1
        raise RecipeError(f"{file}:{line}: character #x{ord(found[0]):02x} is not allowed; expected a text file")
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.add(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        if "nesting depth" in str(error):  # libyaml looks ahead, and has a limit of its own in some versions
            raise RecipeError(f"{file}:{line}: {TOO_DEEP}") from None
        raise RecipeError(f"{file}:{line}: not valid YAML: {_problem(error, text, line)}") from None
    return Document(builder.root, builder.marks, file)


def parse_value(text: str, file: str) -> Value:
    """Parse the right-hand side of ``--set key=value``; its lines are of no interest."""
    try:
        return parse(text, file).value
    except RecipeError as error:
        message = re.sub(r"^:\d+", "", str(error).removeprefix(file))
        raise RecipeError(file + message) from None


def write(value: Value) -> str:
    """A value as block YAML that ``parse`` reads back unchanged: no aliases, and quotes around ``1e-3`` as text."""
    text: str = yaml.dump(value, Dumper=_Writer, sort_keys=False, width=120, allow_unicode=True)
    return text


class _Writer(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        """Never refer back: shared lists are written out."""
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """Quote what would be read as a number, a truth value or null."""
        plain = isinstance(read_scalar(data), str)
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=None if plain else "'")


_Writer.add_representer(str, _Writer.represent_str)


def read_scalar(text: str) -> Value:
    """An unquoted scalar of YAML 1.2's core schema."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text) and len(text) <= MAX_DIGITS:
        return int(text)
    if _RADIX.fullmatch(text) and len(text) <= MAX_DIGITS:
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text.replace(".", "") if text[-1].isalpha() else text)
    return text


def _problem(error: yaml.MarkedYAMLError, text: str, line: int) -> str:
    lines = text.split("\n")
    here, above = lines[line - 1] if line <= len(lines) else "", lines[line - 2] if line > 1 else ""
    if "\t" in here[: len(here) - len(here.lstrip())]:
        return "a tab indents this line; use spaces"
    if re.match(r"\s*[\w-]+:[^\s/]", above) and "mapping values" in str(error.problem):
        return f"no space follows the colon on line {line - 1}"
    started = error.context_mark.line + 1 if error.context_mark else line
    where = f" {error.context}" if error.context else ""
    since = f" that starts on line {started}" if where and started != line else ""
    hint = "; check the indentation" if "block" in where else ""
    return f"{error.problem}{where}{since}{hint}"


def _line(event: yaml.Event) -> int:
    assert event.start_mark is not None
    return event.start_mark.line + 1


@dataclass
class _Open:
    """A mapping or list still being filled."""

    value: Any
    key: Key
    pending: str | None = None
    lines: dict[str, int] = field(default_factory=dict)


class _Builder:
    """Turns parser events into values; keeps its own stack, so that no nesting can exhaust Python's."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.root: Value = None
        self.marks: dict[Key, Origin] = {}
        self._stack: list[_Open] = []
        self._documents = 0

    def add(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise self._error(event, "a second document starts here; a file holds one")
        elif isinstance(event, yaml.AliasEvent):
            raise self._error(event, f"alias *{event.anchor} is not allowed; write the value out, or use `extends`")
        elif isinstance(event, yaml.NodeEvent):
            self._node(event)
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._stack.pop()

    def _node(self, event: Any) -> None:
        if event.anchor is not None:
            raise self._error(event, f"anchor &{event.anchor} is not allowed; write the value out, or use `extends`")
        if event.tag is not None and event.tag != "!":
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            raise self._error(event, f"tag {tag} is not allowed; recipes hold plain values only")
        if isinstance(event, yaml.ScalarEvent):
            if self._expects_key():
                self._key(event)
            else:
                self._place(event, event.value if event.style else read_scalar(event.value))  # quoted: always text
            return
        if self._expects_key():
            raise self._error(event, "a key must be a word, found a list or mapping")
        if len(self._stack) >= MAX_DEPTH:
            raise RecipeError(f"{self.file}:{_line(event)}: {TOO_DEEP}")
        value: Value = {} if isinstance(event, yaml.MappingStartEvent) else []
        self._stack.append(_Open(value, self._place(event, value)))

    def _expects_key(self) -> bool:
        return bool(self._stack) and isinstance(self._stack[-1].value, dict) and self._stack[-1].pending is None

    def _key(self, event: yaml.ScalarEvent) -> None:
        top, line = self._stack[-1], _line(event)
        if event.value in top.lines:
            first = top.lines[event.value]
            raise self._error(event, f'key "{event.value}" is written twice, first on line {first}; keep one of them')
        top.pending, top.lines[event.value] = event.value, line

    def _place(self, event: yaml.Event, value: Value) -> Key:
        line = _line(event)
        key: Key = ()
        if not self._stack:
            self.root = value
        else:
            top = self._stack[-1]
            if isinstance(top.value, list):
                key = (*top.key, len(top.value))
                top.value.append(value)
            else:
                assert top.pending is not None
                key, line = (*top.key, top.pending), top.lines[top.pending]
                top.value[top.pending], top.pending = value, None
        self.marks[key] = Origin(self.file, line)
        return key

    def _error(self, event: yaml.Event, message: str) -> RecipeError:
        path = ""
        if self._stack:
            top = self._stack[-1]
            inner = len(top.value) if isinstance(top.value, list) else top.pending
            path = show_key(top.key if inner is None else (*top.key, inner))
        return RecipeError(f"{self.file}:{_line(event)}: {path + ': ' if path else ''}{message}")
