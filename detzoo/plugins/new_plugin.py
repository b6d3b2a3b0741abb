"""What ``detzoo new-plugin`` writes: a package that builds, installs and passes the conformance kit as it is.

Six files, templates in ``templates/plugin``: ``common``, and a folder per kind whose files win over those. ``PACKAGE``
in a path is the package's name; ``$`` placeholders are those of ``string.Template``.
"""

from __future__ import annotations

import json
import keyword
import re
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template
from typing import Final

from detzoo.errors import PluginError
from detzoo.runtime.atomic_files import write_text
from detzoo.runtime.version import __version__
from detzoo.schema.describing import unknown


@dataclass(frozen=True)
class Pattern:
    """What is written for a kind.

    Args:
        summary: one line on what the written component does.
        module: the module that holds it.
        use: the ``--set`` that puts it into a recipe; empty for what is a recipe itself.
        also: further folders of templates.
    """

    summary: str
    module: str
    use: str
    also: tuple[str, ...] = ()


PATTERNS: Final = {
    "backbone": Pattern("a convolution every time the stride doubles", "backbone", "backbone={type: {name}}"),
    "neck": Pattern("every map to the same number of channels", "neck", "neck={type: {name}}"),
    "head": Pattern(
        "a square in every cell, a sigmoid per class and a box",
        "head",
        "head={type: {name}, box_coder: {type: centre_size}}",
    ),
    "matcher": Pattern("highest IoU, and the best candidate of every object", "matcher", "matcher={type: {name}}"),
    "loss": Pattern(
        "classes over all candidates, boxes over the positives",
        "loss",
        "loss={type: {name}, classification: {type: focal}, box: {type: giou}, normaliser: {type: positives}}",
    ),
    "postprocess": Pattern(
        "the best pairs of candidate and class, without duplicates",
        "postprocess",
        "postprocess={type: {name}, suppress: {type: nms}}",
    ),
    "proposals": Pattern(
        "a square in every cell, with a learnt objectness",
        "proposals",
        "proposals={type: {name}}",
    ),
    "kind": Pattern(
        "a kind of your own, a neck that takes one of it, and what the kit checks of it",
        "gate",
        "neck={type: {name}, gate: {type: {name}}}",
    ),
    "detector": Pattern(
        "a small one-stage detector with a head of its own",
        "head",
        "",
        ("head",),
    ),
}
"""By kind, in the order of the help text."""
_NAME: Final = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")


def write_plugin(name: str, kind: str, folder: Path | None = None) -> list[Path]:
    """Write a plugin.

    Args:
        name: of the plugin and of its component; ``detzoo-NAME`` is the distribution.
        kind: a key of ``PATTERNS``.
        folder: where; ``detzoo-NAME`` in the current folder when None. It must be missing or empty.

    Returns:
        the files, the folder's own first.

    Raises:
        PluginError: the name, the kind or the folder cannot be used; nothing has been written then.
    """
    if kind not in PATTERNS:
        raise PluginError(_no_pattern(kind))
    _check_name(name)
    folder = Path(f"detzoo-{name}") if folder is None else folder
    _check_folder(folder)
    values = _values(name, kind)
    texts: dict[Path, str] = {}
    root = files("detzoo.plugins") / "templates" / "plugin"
    for part in (root / "common", *(root / also for also in PATTERNS[kind].also), root / kind):
        texts |= _rendered(part, folder, values)
    for path, text in sorted(texts.items()):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    return sorted(texts)


def _no_pattern(kind: str) -> str:
    from detzoo.plugins.registry import get_registry

    own = get_registry().plugins.kinds.get(kind)
    if own is None:
        return unknown("kind", kind, PATTERNS)
    brings = get_registry().plugins.records[own.plugin].distribution.rpartition(" ")[0]
    return (
        f'"{kind}" is a kind that {brings} brings, and there is no template for it: write a plugin of another kind, '
        f"derive the class from {own.interface} and add {brings} to the dependencies"
    )


def _check_name(name: str) -> None:
    from detzoo.plugins.registry import get_registry

    if name.startswith(("detzoo-", "detzoo_")):
        raise PluginError(f'plugin "{name}": leave the prefix out, it is added: detzoo new-plugin {name[7:]}')
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise PluginError(
            f'"{name}" cannot be the name of a plugin; expected small letters, digits, - and _, a letter first, '
            "and no keyword of Python"
        )
    registry = get_registry()
    if name in registry.plugins.records or name in registry.installable:
        raise PluginError(f'a plugin named "{name}" exists already (see `detzoo plugins`); choose another name')


def _check_folder(folder: Path) -> None:
    if folder.is_file():
        raise PluginError(f"{folder} is a file; name a folder that is empty, or that does not exist yet")
    if folder.is_dir() and any(folder.iterdir()):
        raise PluginError(f"{folder} is not empty, and nothing in it is overwritten; choose another folder with --out")


def _values(name: str, kind: str) -> dict[str, str]:
    pattern = PATTERNS[kind]
    words = re.split("[-_]", name)
    suffix = {"detector": "Head", "kind": "Neck"}.get(kind) or "".join(word.capitalize() for word in kind.split("_"))
    return {
        "name": name,
        "kind": kind,
        "own_kind": _own_kind(name),
        "distribution": f"detzoo-{name}",
        "package": f"detzoo_{name.replace('-', '_')}",
        "Class": "".join(word.capitalize() for word in words) + suffix,
        "module": pattern.module,
        "summary": pattern.summary,
        "use": _use(kind, name),
        "core_range": _core_range(__version__),
    }


def _use(kind: str, name: str) -> str:
    """Commands that work, in Markdown: in a detector of the zoo, which the templates name, for the core names none."""
    command = f"detzoo train {name} --data shapes --out runs/{name}"
    value = PATTERNS[kind].use.replace("{name}", name)
    if not value:
        return f"```\n{command}\n```"
    text = (files("detzoo.plugins") / "templates" / "plugin" / "tried_in.json").read_text(encoding="utf-8")
    tried: dict[str, list[str]] = json.loads(text)
    recipe, brings = tried.get(kind, tried["others"])
    return (
        f"In a recipe, or in place of another one's with `--set`, here in a detector of {brings}:\n\n"
        f"```\npip install {brings}\n"
        f"detzoo train {recipe} --data shapes --out runs/{name} --set '{value}'\n```"
    )


def _own_kind(name: str) -> str:
    """``my_plugin_gate``: two plugins with one kind stop each other, so it has the plugin's name in it."""
    return f"{name.replace('-', '_')}_gate"


def _core_range(version: str) -> str:
    """``>=0.1,<0.2`` for 0.1.x, ``>=1.2,<2`` for 1.2.x: what semantic versions promise to keep."""
    major, minor = (int(part) for part in version.split(".")[:2])
    return f">={major}.{minor},<{f'0.{minor + 1}' if major == 0 else major + 1}"


def _rendered(template: Traversable, folder: Path, values: dict[str, str]) -> dict[Path, str]:
    found: dict[Path, str] = {}
    for item in template.iterdir():
        name = item.name.replace("PACKAGE", values["package"])
        target = folder / name
        if item.is_dir():
            found |= _rendered(item, target, values)
        elif item.name.endswith(".in"):
            text = Template(item.read_text(encoding="utf-8")).substitute(values)
            found[target.with_name(target.name.removesuffix(".in"))] = text
    return found
