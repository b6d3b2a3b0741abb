"""What ``detzoo new-plugin`` writes: a package that builds, installs and passes the conformance kit as it is.

Six files, templates in ``templates/plugin``: ``common``, and a folder per kind whose files win over those. ``PACKAGE``
in a path is the package's name; ``$`` placeholders are those of ``string.Template``.
"""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template
from typing import Final

from detzoo.errors import PluginError
from detzoo.plugins.entries import snake_case
from detzoo.runtime.atomic_files import write_text
from detzoo.runtime.foreign_files import is_folder, is_ordinary
from detzoo.runtime.version import __version__
from detzoo.schema.describing import unknown


@dataclass(frozen=True)
class Pattern:
    """What is written for a kind.

    Args:
        module: the module that holds the class.
        use: the ``--set`` that puts it into a recipe; empty for what is a recipe itself.
        also: further folders of templates.
    """

    module: str
    use: str
    also: tuple[str, ...] = ()


PATTERNS: Final = {
    "backbone": Pattern("backbone", "backbone={type: NAME}"),
    "neck": Pattern("neck", "neck={type: NAME}"),
    "head": Pattern("head", "head={type: NAME, box_coder: {type: centre_size}}"),
    "matcher": Pattern("matcher", "matcher={type: NAME}"),
    "loss": Pattern(
        "loss",
        "loss={type: NAME, classification: {type: focal}, box: {type: giou}, normaliser: {type: positives}}",
    ),
    "postprocess": Pattern("postprocess", "postprocess={type: NAME, suppress: {type: nms}}"),
    "proposals": Pattern("proposals", "proposals={type: NAME}"),
    "kind": Pattern("gate", "neck={type: NAME, gate: {type: factor}}"),
    "detector": Pattern("head", "", ("head",)),
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
    root = files("detzoo.plugins") / "templates" / "plugin"
    templates: dict[str, str] = {}
    for part in (root / "common", *(root / also for also in PATTERNS[kind].also), root / kind):
        templates |= _templates(part)
    values = _values(name, kind, _class_name(name, kind, templates.values()))
    texts = {
        folder / path.replace("PACKAGE", values["package"]): Template(text).substitute(values)
        for path, text in templates.items()
    }
    for path, text in sorted(texts.items()):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    return sorted(texts)


def _no_pattern(kind: str) -> str:
    from detzoo.plugins.registry import get_registry

    own = get_registry().plugins.kinds.get(kind)
    if own is None:
        return unknown("kind", kind, PATTERNS)
    brings = get_registry().plugins.records[own.plugin].distribution_name
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
    if is_ordinary(folder):
        raise PluginError(f"{folder} is a file; name a folder that is empty, or that does not exist yet")
    if is_folder(folder) and any(folder.iterdir()):
        raise PluginError(f"{folder} is not empty, and nothing in it is overwritten; choose another folder with --out")


def _class_name(name: str, kind: str, templates: Iterable[str]) -> str:
    """``two-words`` -> ``TwoWords``; the kind is added where the templates have a class of that name themselves."""
    made = "".join(word.capitalize() for word in re.split("[-_]", name))
    suffix = "Neck" if kind == "kind" else "".join(word.capitalize() for word in kind.split("_"))
    return made + suffix if any(re.search(rf"\b{made}\b", text) for text in templates) else made


def _values(name: str, kind: str, class_name: str) -> dict[str, str]:
    pattern = PATTERNS[kind]
    component = snake_case(class_name)
    what = {"kind": f"a kind of components, and the neck {component}", "detector": f"the detector {name}"}
    return {
        "name": name,
        "kind": kind,
        "own_kind": _own_kind(name),
        "distribution": f"detzoo-{name}",
        "package": f"detzoo_{name.replace('-', '_')}",
        "Class": class_name,
        "component": component,
        "module": pattern.module,
        "what": what.get(kind, f"the {kind} {component}"),
        "use": _use(kind, name, component),
        "core_range": _core_range(__version__),
    }


def _use(kind: str, name: str, component: str) -> str:
    """Commands that work, in Markdown: in a detector of the zoo, which the templates name, for the core names none."""
    command = f"detzoo train {name} --data shapes --out runs/{name}"
    value = PATTERNS[kind].use.replace("NAME", component)
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
    """``>=0.1`` for 0.1.x: what it was written with. What it no longer works with, ``api`` in the manifest says."""
    return f">={'.'.join(version.split('.')[:2])}"


def _templates(folder: Traversable, inside: str = "") -> dict[str, str]:
    """Texts by path; a file that does not end in ``.in`` is no template."""
    found: dict[str, str] = {}
    for item in folder.iterdir():
        if item.is_dir():
            found |= _templates(item, f"{inside}{item.name}/")
        elif item.name.endswith(".in"):
            found[inside + item.name.removesuffix(".in")] = item.read_text(encoding="utf-8")
    return found
