"""Names become objects here, and nowhere else: the torch-free half and the tensor half meet in this file."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detzoo.errors import MachineError, RecipeError, WeightsError
from detzoo.interfaces import Anchors, Detector, FeatureSource
from detzoo.plugins.entries import Entry
from detzoo.plugins.registry import Registry, get_registry
from detzoo.recipes.class_names import class_names
from detzoo.recipes.compatibility import unmet_needs
from detzoo.recipes.filling import RESERVED_KEYS
from detzoo.recipes.recipe import Recipe, load_recipe, recipe_from_values
from detzoo.runtime.foreign_files import is_there
from detzoo.runtime.machine_failures import machine_failure
from detzoo.schema.checking import check_fields, fits
from detzoo.schema.nodes import (
    ComponentOf,
    DictOf,
    Fields,
    FixedTuple,
    ListOf,
    Node,
    Number,
    Settings,
    TupleOf,
    Union,
)
from detzoo.schema.yaml_source import Key, show_key
from detzoo.weights.detector import load_state, load_weights
from detzoo.weights.starting_point import fetches_backbones, is_address, or_choose, starting_point

if TYPE_CHECKING:
    from detzoo.weights.backbone import LoadedWeights

_log = logging.getLogger("detzoo.builder")
_NAMED = 10
"""Classes that a message names."""


def build(
    target: str | Path,
    *,
    num_classes: int | None = None,
    classes: Sequence[str | None] | None = None,
    overrides: Mapping[str, Any] | Sequence[str] | None = None,
    weights: str | None = "backbone",
) -> Detector:
    """Build a detector.

    Args:
        target: a name from ``detzoo list``, or a recipe file (``mine.yaml``, ``mine.yaml#cells``).
        num_classes: replaces the recipe's; class names are then unknown unless ``classes`` gives them.
        classes: class names in label order; implies ``num_classes``.
        overrides: ``{"loss.box.type": "giou"}`` or ``["loss.box.type=giou"]``.
        weights: ``backbone`` loads the pretrained backbone that the recipe names, if it names one; ``published`` the
            detector's own first published weights, or one of them by name; a path loads a run or a checkpoint; None
            loads nothing. Where weights are for another number of classes, the layers whose size follows it start
            afresh, which the log says.

    Raises:
        RecipeError: the recipe is wrong, or cannot be built.
        WeightsError: weights are missing or do not fit.
    """
    return build_resolved(load_recipe(target, overrides), num_classes=num_classes, classes=classes, weights=weights)


def build_resolved(
    recipe: Recipe,
    *,
    num_classes: int | None = None,
    classes: Sequence[str | None] | None = None,
    weights: str | None = "backbone",
) -> Detector:
    """As ``build``, of a recipe that is resolved already."""
    for line in recipe.dropped:
        _log.info(line)
    detector = build_recipe(recipe, num_classes=num_classes, classes=classes, backbone_weights=weights == "backbone")
    if weights not in (None, "backbone"):
        load_weights(detector, str(weights), recipe, build_recipe)
    _announce(detector, recipe)
    return detector


def load(path: str | Path, overrides: Mapping[str, Any] | Sequence[str] | None = None) -> Detector:
    """A trained detector from a run folder (its best checkpoint, else its last) or a checkpoint file.

    Args:
        path: of the run or checkpoint; or ``hf:owner/name``, with ``@revision``: what ``detzoo push`` wrote to the Hub.
        overrides: as for ``build``: another suppression, threshold or input size; whatever the trained weights still
            fit.

    Raises:
        RecipeError: an override is wrong.
        WeightsError: there is no checkpoint, or it does not fit the recipe stored in it.
    """
    from detzoo.weights.checkpoint import load_model_state
    from detzoo.weights.hub_run import fetch_hub_run, repository_of

    place = Path(path)
    if isinstance(path, str) and repository_of(path) is not None:
        fetched = fetch_hub_run(path)
        if fetched is None:
            raise WeightsError(f"{path}: its repository holds no run of detzoo; load it with detzoo.load_foreign")
        place = fetched
    values, classes, state = load_model_state(place)
    recipe = recipe_from_values(str(path), values, overrides)
    detector = build_recipe(recipe, classes=classes, backbone_weights=False)
    try:
        load_state(detector, state, str(path))
    except WeightsError as error:
        if not overrides:
            raise
        raise WeightsError(f"{error} What is set for a trained run must leave its weights as they are") from None
    _announce(detector, recipe)
    return detector


def build_recipe(
    recipe: Recipe,
    *,
    num_classes: int | None = None,
    classes: Sequence[str | None] | None = None,
    backbone_weights: bool = True,
) -> Detector:
    """The detector of a checked recipe; see ``build``."""
    registry = get_registry()
    recipe = _for_classes(recipe, num_classes, classes)
    values = recipe.values
    builder = _Builder(recipe, registry, backbone_weights=backbone_weights)
    detector = builder.component("architecture", {"type": values["architecture"]} | _slots(values, registry), {}, ())
    assert isinstance(detector, Detector)
    detector.recipe = recipe
    detector.input = builder.settings("input", values["input"])
    detector.train_plan = builder.settings("train", values["train"])
    unmet = list(unmet_needs(values, registry, recipe.marks, builder.made))
    if unmet:
        raise RecipeError("\n".join(recipe.located(problem.key, problem.message) for problem in unmet))
    _check_sizes(detector, recipe, builder.made.values())
    detector.classes = class_names(values["classes"], values["num_classes"])
    detector.begin_at(starting_point(builder.made, builder.types, builder.loaded))
    return detector


def _check_sizes(detector: Detector, recipe: Recipe, made: Iterable[object]) -> None:
    """Reject sizes of the input that are no multiples of the stride, where a component needs such.

    Raises:
        RecipeError: with the nearest that are.
    """
    if not any(isinstance(component, Anchors) and component.whole_cells for component in made):
        return
    step, spec, plan = detector.stride, detector.input, detector.train_plan
    wanted = f"sides must be multiples of {step} px, the coarsest stride"
    if spec.size is not None and any(side % step for side in spec.size):
        near = [max(step, round(side / step) * step) for side in spec.size]
        raise RecipeError(recipe.located(("input", "size"), f"found {list(spec.size)}; {wanted}, as {near}"))
    if spec.size is None and spec.pad_multiple % step:
        message = f"found {spec.pad_multiple}; {wanted}: write {step}"
        raise RecipeError(recipe.located(("input", "pad_multiple"), message))
    if plan.multi_scale is not None and plan.multi_scale.multiple % step:
        message = f"found {plan.multi_scale.multiple}; {wanted}: write {step}, and such shortest and longest"
        raise RecipeError(recipe.located(("train", "multi_scale", "multiple"), message))


def build_component(kind: str, config: Mapping[str, Any], **supplies: Any) -> Any:
    """One component from its configuration, outside any recipe.

    Args:
        kind: ``head``, ``neck``, ...
        config: ``{"type": name, ...}``.
        supplies: ``features``, ``num_classes``, ``input_size`` as the class needs them.

    Raises:
        RecipeError: the configuration is wrong.
    """
    from detzoo.recipes.recipe import check_component

    registry = get_registry()
    problems = check_component(kind, dict(config), (), registry)
    if problems:
        raise RecipeError("\n".join(f"{show_key(p.key) or kind}: {p.message}" for p in problems))
    recipe = Recipe(kind, {"num_classes": supplies.get("num_classes"), "input": {}})
    return _Builder(recipe, registry, backbone_weights=True).component(kind, dict(config), supplies, ())


def _for_classes(recipe: Recipe, num_classes: int | None, classes: Sequence[str | None] | None) -> Recipe:
    """The recipe for other classes; published weights and reported results belong to the original ones."""
    if isinstance(classes, str):  # a sequence of letters
        raise RecipeError(f'classes is "{classes}"; give a list of names: ["{classes}"]')
    if classes is not None and num_classes not in (None, len(classes)):
        raise RecipeError(f"{len(classes)} classes are given, and num_classes={num_classes}: leave one of the two out")
    old = class_names(recipe.values["classes"], recipe.values["num_classes"])
    if classes is not None and tuple(classes) != old:
        _reject_other_classes(recipe, classes)
        changed = {"num_classes": len(classes), "classes": list(classes)}
    elif classes is None and num_classes not in (None, len(old)):
        changed = {"num_classes": num_classes, "classes": None}
    else:
        return recipe
    return dataclasses.replace(recipe, values=recipe.values | changed | {"weights": [], "reported": []})


def _reject_other_classes(recipe: Recipe, classes: Sequence[str | None]) -> None:
    """An override of the classes means something: it is not replaced in silence by those of the data.

    Raises:
        RecipeError: ``--set`` or ``overrides`` names other classes, or another number of them.
    """
    for key, found in (("classes", recipe.values["classes"]), ("num_classes", recipe.values["num_classes"])):
        mark = recipe.marks.get((key,))
        if mark is not None and mark.line == 0 and found not in (None, list(classes), len(classes)):
            names = ", ".join(str(name) for name in classes[:_NAMED]) + (" ..." if len(classes) > _NAMED else "")
            raise RecipeError(
                f"{mark}: found {found}, but the data have {len(classes)} classes: {names}; leave it out, or choose "
                "among the classes of the data with `classes:` in a data.yaml"
            )


class _Builder:
    """Builds bottom-up; knows the recipe, so that an error of a constructor names file, line and path."""

    def __init__(self, recipe: Recipe, registry: Registry, *, backbone_weights: bool) -> None:
        self.recipe, self.registry, self.backbone_weights = recipe, registry, backbone_weights
        self.made: dict[Key, object] = {}
        """The components by where the recipe has them, the detector itself under ()."""
        self.types: dict[Key, str] = {}
        self.loaded: dict[Key, str] = {}
        """Where the weights of a backbone come from, by where the recipe has it."""
        self.pretrained: Path | None = None  # the file that the backbone came from, for heads that go on from there

    def component(self, kind: str, config: dict[str, Any], supplies: dict[str, Any], key: Key) -> Any:
        """Build one component and everything inside it."""
        entry = self.registry.find(kind, config["type"])
        cls = self.registry.load(entry)
        schema = self.registry.derive(entry)
        if schema != self.registry.schema(entry):
            self._check_again(entry, schema.fields, config, key)
        supplies = self._supplies() | supplies
        arguments = {}
        for name, item in schema.fields.items():
            if name not in config:
                continue
            built = self._value(item.type, config[name], supplies, (*key, name))
            if isinstance(built, FeatureSource):
                supplies["features"] = built.out
            arguments[name] = built
        lacking = [name for name in schema.supplies if name not in supplies]
        if lacking:
            raise RecipeError(f'{kind} "{entry.name}" needs {", ".join(lacking)}: pass it to build_component by name')
        with self._located(key):
            made = cls(*(supplies[name] for name in schema.supplies), **arguments)
        if kind == "backbone":
            self._prepare_backbone(made, config, key)
        elif kind == "transform":
            made.active = self._active(config.get("active", made.active), key)
        elif config.get("pretrained") and self.pretrained is not None:
            from detzoo.weights.parts import load_parts

            with self._located((*key, "pretrained")):
                load_parts(made, config["pretrained"], self.pretrained)
        self.made[key] = made
        self.types[key] = entry.name
        return made

    def _check_again(self, entry: Entry, fields: Fields, config: dict[str, Any], key: Key) -> None:
        """The manifest's schema, by which the recipe was checked, is not that of the class: the class decides."""
        reserved = ("type", *RESERVED_KEYS.get(entry.kind, ()))
        own = {k: v for k, v in config.items() if k not in reserved}
        problems = check_fields(fields, own, key, what=f'{entry.kind} "{entry.name}"')
        if problems:
            stale = (
                f"the manifest of plugin {entry.plugin} is out of date, its author should run `detzoo registry sync`"
            )
            raise RecipeError("\n".join([*(self.recipe.located(p.key, p.message) for p in problems), stale]))

    def settings(self, name: str, values: dict[str, Any]) -> Any:
        """Build a settings dataclass, with the components inside it."""
        entry = self.registry.find("settings", name)
        return self._dataclass(
            self.registry.load(entry), self.registry.derive(entry).fields, values, self._supplies(), (name,)
        )

    def _value(self, node: Node, value: Any, supplies: dict[str, Any], key: Key) -> Any:
        """What a constructor is given for a checked value."""
        match node:
            case ComponentOf(kind, scope):
                return self.component(kind, value, supplies | (scope.supplies() if scope else {}), key)
            case Settings(fields, cls) if isinstance(value, dict):
                assert cls is not None  # the schema was read from a class, so its settings know theirs
                return self._dataclass(cls, fields, value, supplies, key)
            case Union(members) if value is not None:
                member = next((member for member in members if fits(member, value)), None)
                return value if member is None else self._value(member, value, supplies, key)
            case ListOf(item) if isinstance(value, (list, tuple)):
                return self._elements([item] * len(value), value, supplies, key)
            case TupleOf(item) if isinstance(value, (list, tuple)):
                return tuple(self._elements([item] * len(value), value, supplies, key))
            case FixedTuple(items) if isinstance(value, (list, tuple)):
                return tuple(self._elements(items, value, supplies, key))
            case DictOf(item) if isinstance(value, dict):
                return {name: self._value(item, one, supplies, (*key, name)) for name, one in value.items()}
            case Number() if value is not None:
                return float(value)
            case _:
                return value

    def _elements(self, items: Sequence[Node], values: Sequence[Any], supplies: dict[str, Any], key: Key) -> list[Any]:
        pairs = enumerate(zip(items, values, strict=True))
        return [self._value(item, value, supplies, (*key, i)) for i, (item, value) in pairs]

    def _dataclass(
        self, cls: type[Any], fields: Fields, values: dict[str, Any], supplies: dict[str, Any], key: Key
    ) -> Any:
        made = {
            name: self._value(item.type, values[name], supplies, (*key, name))
            for name, item in fields.items()
            if name in values
        }
        with self._located(key):
            return cls(**made)

    def _active(self, share: Sequence[float], key: Key) -> tuple[float, float]:
        begin, end = share
        if begin >= end:
            message = f"active: from {begin:g} up to {end:g} is nothing; write [begin, end], as [0.0, 0.9]"
            raise RecipeError(self.recipe.located(key, message))
        return begin, end

    def _prepare_backbone(self, backbone: Any, config: dict[str, Any], key: Key) -> None:
        from detzoo.components.backbones.freeze import freeze
        from detzoo.weights.normalisation import check_normalisation

        location = config.get("weights")
        if location and self.backbone_weights and (not is_address(location) or fetches_backbones()):
            written = self.recipe.marks.get((*key, "weights"))
            beside = Path(written.file).parent / location if written and written.line else Path(location)
            path = str(beside) if is_there(beside) else location
            with self._located((*key, "weights")):
                loaded = _load_backbone(backbone, path, show_key((*key, "weights")))
            self.pretrained, self.loaded[key] = loaded.path, location
            pixels = {k: self.recipe.values["input"].get(k) for k in ("channels", "mean", "std", "pixel_range")}
            if loaded.expects is not None and None not in pixels.values():
                with self._located(("input",)):
                    check_normalisation(loaded.expects, weights=location, **pixels)
        if config.get("freeze"):
            with self._located((*key, "freeze")):
                freeze(backbone, config["freeze"])

    @contextmanager
    def _located(self, key: Key) -> Iterator[None]:
        """Errors of what is built inside name file, line and path."""
        try:
            yield
        except (RecipeError, WeightsError, ValueError) as error:
            kind = WeightsError if isinstance(error, WeightsError) else RecipeError
            raise kind(self.recipe.located(key, str(error))) from error
        except RuntimeError as error:  # torch's, of a size that no memory has
            if "overflowed" in str(error):
                message = f"a size is too large: {str(error).splitlines()[0]}"
                raise RecipeError(self.recipe.located(key, message)) from error
            if (reason := machine_failure(error)) is None:
                raise
            raise MachineError(self.recipe.located(key, reason)) from error

    def _supplies(self) -> dict[str, Any]:
        size = self.recipe.values["input"].get("size")
        return {"num_classes": self.recipe.values["num_classes"], "input_size": tuple(size) if size else None}


def _slots(values: dict[str, Any], registry: Registry) -> dict[str, Any]:
    fields = registry.schema(registry.find("architecture", values["architecture"])).fields
    return {name: values[name] for name in fields if name in values}


def _load_backbone(backbone: Any, location: str, setting: str) -> LoadedWeights:
    from detzoo.weights.backbone import load_backbone_weights

    try:
        return load_backbone_weights(backbone, location)
    except WeightsError as error:
        if not is_address(location):
            raise
        raise or_choose(error, setting) from None


def _announce(detector: Detector, recipe: Recipe) -> None:
    get_registry().plugins.call("detzoo_detector_built", detector=detector, recipe=recipe)


__all__ = [
    "build",
    "build_component",
    "build_recipe",
    "build_resolved",
    "load",
]
