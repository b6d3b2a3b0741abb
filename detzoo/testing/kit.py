"""One generator of (component, check) pairs, behind ``check_plugin`` and ``parametrize_with_checks``.

What the plugin's author must specify is read from the manifest (``conformance:``), so that every entry point agrees.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from detzoo.errors import DetzooError
from detzoo.plugins.conformance import PLUGIN
from detzoo.plugins.entries import key_of
from detzoo.plugins.manifest import locate
from detzoo.schema.checking import Problem
from detzoo.schema.describing import unknown
from detzoo.testing.catalogue import DETECTOR_CHECKS, PLUGIN_CHECKS, Group, checks_of, group_of

if TYPE_CHECKING:
    from detzoo.plugins.entries import Entry
    from detzoo.plugins.manifest import Manifest
    from detzoo.testing.subject import Subject
    from detzoo.testing.trial import Trial


class ConformanceError(DetzooError):
    """A plugin does not keep the contract; the message lists every failed check."""


@dataclass(frozen=True)
class CheckedComponent:
    """What is checked: a plugin as a whole, one of its components, or one of its recipes.

    Args:
        id: ``ssd``, ``head ssd/ssd``, ``recipe ssd/ssd300_vgg16_voc``.
        prepare: gives a check what it looks at.
        expected_failures: reasons by the name of the check, as the manifest gives them.
        missing: why it cannot be checked here; empty where it can.
    """

    id: str
    prepare: Callable[[], Any] = field(repr=False)
    expected_failures: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    missing: str = ""

    def __str__(self) -> str:
        return self.id


@dataclass(frozen=True)
class Check:
    """One check; call it with a component.

    Args:
        group: which part of the kit it belongs to.
        file: module of ``detzoo.testing`` that holds it, or the dotted path of a plugin's.
        name: its function without ``check_``.
    """

    group: Group
    file: str
    name: str

    def __call__(self, component: CheckedComponent) -> None:
        """Raise AssertionError where the component does not keep the contract."""
        state = random.getstate()
        self._function(component.prepare())
        assert random.getstate() == state, "it drew from Python's global random generator"

    @property
    def explanation(self) -> str:
        """What it demands, in a sentence."""
        return (inspect.getdoc(self._function) or "").partition("\n")[0]

    @property
    def page(self) -> str:
        """Where it is explained."""
        return self.file if "." in self.file else f"docs/plugins.md#{self.file.replace('_', '-')}-checks"

    @property
    def _function(self) -> Callable[[Any], None]:
        module = self.file if "." in self.file else f"detzoo.testing.{self.file}"
        found: Callable[[Any], None] = getattr(importlib.import_module(module), f"check_{self.name}")
        return found

    def __str__(self) -> str:
        return self.name


def checks(plugin: str, recipes: Collection[str] | None = None) -> Iterator[tuple[CheckedComponent, Check]]:
    """Every pair of a component of a plugin and a check that it must pass. Builds nothing.

    Of plugins it imports at most the modules of checks that those bring for kinds of their own.

    Args:
        plugin: name of its entry point; ``core`` for detzoo itself.
        recipes: names of those that are built and run; None for those that its manifest names under ``conformance``,
            all where it names none.

    Raises:
        AssertionError: no such plugin.
        ConformanceError: the manifest expects failures of a check that there is not, or a module of checks cannot be
            imported.
    """
    from detzoo.testing.manifest import record_of

    manifest = record_of(plugin).manifest
    whole = _component(manifest, PLUGIN, plugin, lambda: plugin, PLUGIN_CHECKS)
    yield from _pairs(whole, PLUGIN_CHECKS)
    if manifest is None:
        return
    for entry in manifest.entries:
        key, specs = key_of(entry.kind, entry.name), _checks_of(entry.kind, manifest)
        example = json.dumps(manifest.conformance.examples.get(key, {}), sort_keys=True)
        yield from _pairs(
            _component(manifest, key, f"{entry.kind} {entry.id}", _preparing(entry, example), specs), specs
        )
    for name in _recipes(manifest) if recipes is None else recipes:
        recipe = f"{plugin}/{name}"
        component = _component(manifest, f"recipe/{name}", f"recipe {recipe}", _trying(recipe), DETECTOR_CHECKS)
        yield from _pairs(component, DETECTOR_CHECKS)


def recipes_left_out(plugin: str) -> tuple[str, ...]:
    """Names of the recipes that ``checks`` does not build unless asked to; for a plugin's slow tests.

    Raises:
        AssertionError: no such plugin, or its manifest cannot be used.
    """
    from detzoo.testing.manifest import manifest_of

    manifest = manifest_of(plugin)
    return tuple(name for name in manifest.detectors if name not in _recipes(manifest))


def _checks_of(kind: str, manifest: Manifest) -> tuple[str, ...]:
    try:
        return checks_of(kind)
    except ImportError as error:
        raise ConformanceError(f"{manifest.document.file}: the checks of the kind {kind}: {error}") from error


def _recipes(manifest: Manifest) -> Sequence[str]:
    named = manifest.conformance.recipes
    return tuple(manifest.detectors) if named is None else named


def _pairs(component: CheckedComponent, specs: Sequence[str]) -> Iterator[tuple[CheckedComponent, Check]]:
    for spec in specs:
        file, _, name = spec.partition(":")
        yield component, Check(group_of(spec), file, name)


def _component(
    manifest: Manifest | None, key: str, name: str, prepare: Callable[[], Any], specs: Sequence[str]
) -> CheckedComponent:
    """A component with what the manifest says of it."""
    if manifest is None:
        return CheckedComponent(name, prepare)
    expected = manifest.conformance.expected_failures.get(key, {})
    known = [spec.partition(":")[2] for spec in specs]
    for check in expected:
        if check not in known:
            problem = Problem(("conformance", "expected_failures", key, check), unknown("check", check, known))
            raise ConformanceError(locate(problem, manifest.document))
    package = manifest.conformance.packages.get(key)
    missing = package is not None and importlib.util.find_spec(package) is None
    return CheckedComponent(name, prepare, expected, f"the package {package} is not installed" if missing else "")


def _preparing(entry: Entry, example: str) -> Callable[[], Subject]:
    return lambda: _subject(entry.plugin, entry.kind, entry.name, example).copied()


def _trying(recipe: str) -> Callable[[], Trial]:
    return lambda: _trial(recipe)


@lru_cache(maxsize=2)  # checks come component by component; detectors are large
def _trial(recipe: str) -> Trial:
    from detzoo.testing.trial import trial_of

    return trial_of(recipe)


@lru_cache(maxsize=2)  # checks come component by component; detectors are large
def _subject(plugin: str, kind: str, name: str, example: str) -> Subject:
    from detzoo.testing.examples import make_subject

    return make_subject(plugin, kind, name, json.loads(example))
