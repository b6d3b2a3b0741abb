"""What a foreign detector does not tell of itself: a short YAML file beside it, a preset, ``--set key=value``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias

from pydantic import Field as Limited

from detzoo.errors import RecipeError
from detzoo.foreign.errors import ForeignError
from detzoo.foreign.fingerprints import fingerprints
from detzoo.foreign.presets import preset
from detzoo.foreign.target import ForeignTarget, check_there, foreign_target
from detzoo.prediction.input_spec import InputSpec
from detzoo.recipes.class_names import SETS
from detzoo.recipes.merge import Layer, Merged, parse_override
from detzoo.runtime.foreign_files import is_ordinary, lines_of, read_text
from detzoo.runtime.near_names import nearest_path
from detzoo.schema.checking import Problem, check_fields
from detzoo.schema.describing import first_of, shown
from detzoo.schema.nodes import Anything, DictOf, Field, Fields, Null, Union
from detzoo.schema.signature import schema_of
from detzoo.schema.yaml_source import Key, Origin, read, show_key

Decoder: TypeAlias = Literal["detections", "cells", "objectness", "columns", "queries", "distributions"]
BoxForm: TypeAlias = Literal["xyxy", "xywh", "cxcywh", "yxyx"]
Units: TypeAlias = Literal["input", "image", "relative"]
Share: TypeAlias = Annotated[float, Limited(ge=0, le=1)]
_ENDINGS: Final = (".txt", ".names", ".json", ".yaml", ".yml")


@dataclass(frozen=True, kw_only=True)
class ForeignOptions:
    """The keys of a foreign detector's YAML file.

    Args:
        foreign: the detector, where the file is given in its place; ``model.yaml`` beside ``model.onnx`` needs none.
        runtime: of an ONNX file: which program runs it.
        preset: values for a family of files; what is written beside it wins.
        classes: names by label: a list, a set (``coco``, ``voc``), ``a,b,c``, or a file with one name a line or a JSON
            list; null for outputs that mean nothing.
        aliases: a dataset's name for each of the detector's that is called otherwise; or a YAML file of such.
            Several may have one: ``{car: vehicle, bus: vehicle}``.
        arguments: of a callable that is a class, or a function that makes the detector.
        weights: of torchvision and RF-DETR: a name of the library's own, or a file.
        time_limit: seconds for each image; a detector that takes longer is ended.
        load_limit: seconds for loading.
        input: of a network file, as a recipe's ``input``; a size that the file has need not be written.
        as_is: images go into a network file as they are, RGB in 0..1: it resizes and normalises itself.
        inputs: of a network file: what its further inputs get.
        outputs: of a network file: its names of ``boxes``, ``scores``, ``labels``, ``count``, ``logits``.
        decoder: of a network file: what its outputs mean.
        boxes: order of the numbers of a box.
        units: of boxes: px of the network's input, px of the image, or relative to the image.
        scoring: of ``queries``: how logits become scores; ``softmax`` has "no object" as its last column.
        first_label: what the network calls the first of ``classes``: 1 where 0 is background.
        score_threshold: lower scores are dropped; null: the preset's, or 0.01.
        nms_iou: overlap above which the worse box of a class is suppressed, where the network does not do it itself;
            null: the preset's, or 0.65.
        keep: detections kept per image; null: the preset's, or 300.
    """

    name: ClassVar[str] = "foreign"
    kind: ClassVar[str] = "settings"
    foreign: str | None = None
    runtime: Literal["onnxruntime", "openvino"] = "onnxruntime"
    preset: str | None = None
    classes: str | list[str | None] | None = None
    aliases: dict[str, str] | str | None = None
    arguments: dict[str, str] | None = None
    weights: str | None = None
    time_limit: Annotated[float, Limited(gt=0)] = 60.0
    load_limit: Annotated[float, Limited(gt=0)] = 600.0
    input: dict[str, str] | None = None
    as_is: bool = False
    inputs: dict[str, Literal["ones", "image_hw", "image_wh"]] | None = None
    outputs: dict[str, str] | None = None
    decoder: Decoder = "detections"
    boxes: BoxForm = "xyxy"
    units: Units = "input"
    scoring: Literal["softmax", "sigmoid"] = "softmax"
    first_label: Annotated[int, Limited(ge=0)] = 0
    score_threshold: Share | None = None
    nms_iou: Share | None = None
    keep: Annotated[int, Limited(gt=0)] | None = None

    @property
    def names(self) -> list[str | None] | None:
        """Class names that were written; sets and files were read by ``described``."""
        assert not isinstance(self.classes, str)
        return self.classes

    @property
    def renamed(self) -> dict[str, str]:
        """Aliases that were written; files were read by ``described``."""
        assert not isinstance(self.aliases, str)
        return self.aliases or {}


NETWORK: Final = (
    "preset", "input", "as_is", "inputs", "outputs", "decoder", "boxes", "units", "scoring", "first_label",
    "score_threshold", "nms_iou", "keep",
)  # fmt: skip
"""Keys of network files alone."""
NETWORK_KINDS: Final = ("onnx", "openvino", "program", "torchscript")
OF_KINDS: Final = {"arguments": ("file", "module"), "weights": ("torchvision", "rfdetr"), "runtime": ("onnx",)}
"""Keys of other kinds alone."""


@dataclass(frozen=True)
class Described:
    """A foreign detector with all that was written about it.

    Args:
        target: it.
        values: of ``ForeignOptions``, those that were written or are of the preset.
    """

    target: ForeignTarget
    values: dict[str, Any]

    @property
    def options(self) -> ForeignOptions:
        """With defaults."""
        return ForeignOptions(**self.values)

    def fingerprint(self) -> dict[str, Any]:
        """What decides its detections: options and content of its files, as far as they are known here.

        Of a folder names, sizes and times are taken; of a module its own file, not what it imports.
        """
        return {"kind": self.target.kind, "values": self.values, "files": fingerprints(self.target)}


def described(written: str, overrides: Mapping[str, Any] | Sequence[str] | None = None) -> Described:
    """A foreign detector, its options read and checked, and nothing loaded.

    Args:
        written: as for ``foreign_target``.
        overrides: ``["classes=coco"]`` or ``{"classes": "coco"}``; they win over the file.

    Raises:
        ForeignError: it is none, or its file is not there.
        RecipeError: every wrong option, with file and line.
    """
    target = foreign_target(written)
    if target is None:
        raise ForeignError(f"{written}: not a foreign detector; {FORMS}")
    merged, folder = Merged(), Path()
    file = _options_file(target)
    if file is not None:
        document = read(file)
        value = {} if document.value is None else document.value
        if not isinstance(value, dict):
            raise RecipeError(f"{file}:1: found {shown(value)}; expected a mapping of options")
        merged.add(Layer(value, dict(document.marks), str(file)))
        folder = file.parent
    if target.kind == "options":
        target = _inner(target, merged, folder)
    check_there(target)
    _override(merged, overrides)
    _check(merged, target)
    values = _with_preset(merged)
    values["classes"] = _class_names(values.get("classes"), folder, merged)
    values["aliases"] = _aliases(values.get("aliases"), folder, merged)
    return Described(target, {k: v for k, v in values.items() if k != "foreign"})


FORMS: Final = (
    "give a file (.onnx, .xml, .pt2, .torchscript), hf:org/name, torchvision:NAME, rfdetr:NAME, file.py:callable, "
    "package.module:callable, or a YAML file with the key foreign"
)


def _options_file(target: ForeignTarget) -> Path | None:
    """The YAML file that belongs to a target: itself, or one of the same name beside a network file."""
    if target.kind == "options":
        return Path(target.place)
    if target.kind not in NETWORK_KINDS:
        return None
    for ending in (".yaml", ".yml"):
        beside = Path(target.place).with_suffix(ending)
        if is_ordinary(beside):
            value = read(beside).value
            if not (isinstance(value, dict) and "detectors" in value):  # a recipe of that name is none
                return beside
    return None


def _inner(options: ForeignTarget, merged: Merged, folder: Path) -> ForeignTarget:
    value = merged.value.get("foreign")
    mark = merged.marks.get(("foreign",), Origin(options.place))
    inner = None
    if isinstance(value, str):
        at_home = folder / value  # files are written relative to the file that names them
        inner = foreign_target(value)
        if inner is not None and (inner.kind in NETWORK_KINDS or inner.kind == "file"):
            inner = foreign_target(str(at_home))
    if inner is None or inner.kind == "options":
        raise RecipeError(f"{mark}: foreign: found {shown(value)}; {FORMS}")
    return dataclasses.replace(inner, written=options.written)


def _override(merged: Merged, overrides: Mapping[str, Any] | Sequence[str] | None) -> None:
    if overrides is None:
        return
    if isinstance(overrides, Mapping):
        items = [(path, value, f'options["{path}"]') for path, value in overrides.items()]
    else:
        items = [(path, value, f"--set {path}") for path, value in map(parse_override, overrides)]
    for path, value, written in items:
        merged.override(path, value, written=written)


def _fields() -> Fields:
    fields = dict(schema_of(ForeignOptions).fields)
    free = Field(Union((DictOf(Anything()), Null())), None)
    return fields | {"arguments": free, "input": free}


def _check(merged: Merged, target: ForeignTarget) -> None:
    problems = check_fields(_fields(), merged.value, (), what="a foreign detector")
    inside = merged.value.get("input")
    if isinstance(inside, dict):
        problems += check_fields(schema_of(InputSpec).fields, inside, ("input",), what="input")
    for key in merged.value:
        owners = NETWORK_KINDS if key in NETWORK else OF_KINDS.get(key)
        if owners is not None and target.kind not in owners:
            message = f"is an option of {', '.join(owners)}, and {target.written} is none of them; take it away"
            problems.append(Problem((key,), message))
    if problems:
        raise RecipeError(first_of([_located(one, merged) for one in problems]))


def _located(problem: Problem, merged: Merged) -> str:
    key: Key = problem.key
    while key and key not in merged.marks:
        key = key[:-1]
    mark = merged.marks.get(key, Origin("options"))
    return f"{mark}: {show_key(problem.key)}: {problem.message}"


def _with_preset(merged: Merged) -> dict[str, Any]:
    written: dict[str, Any] = dict(merged.value)
    name = written.get("preset")
    if name is None:
        return written
    ready = preset(name, f"{merged.marks.get(('preset',), Origin('options'))}: preset")
    both = {key: ready[key] | written[key] for key in ("input",) if ready.get(key) and written.get(key)}
    return ready | written | both


def _class_names(value: Any, folder: Path, merged: Merged) -> list[str | None] | None:
    """Names of a list, a set, a line or a file."""
    if value is None or isinstance(value, list):
        return value
    if value in SETS:
        return list(SETS[value])
    if not value.endswith(_ENDINGS):
        return [name.strip() or None for name in value.split(",")]
    path = _beside(value, folder, merged, "classes")
    text = read_text(path, what="list of class names")
    if path.suffix == ".json":
        found = _json(path, text)
        if not isinstance(found, list) or not all(name is None or isinstance(name, str) for name in found):
            raise ForeignError(f"{path}: expected a JSON list of class names")
        return found
    if path.suffix in (".yaml", ".yml"):
        found = read(path).value
        if not isinstance(found, list):
            raise ForeignError(f"{path}: found {shown(found)}; expected a list of class names")
        return [None if name is None else str(name) for name in found]
    return [line.strip() for line in lines_of(text) if line.strip()]


def _aliases(value: Any, folder: Path, merged: Merged) -> dict[str, str] | None:
    if value is None or isinstance(value, dict):
        return value
    path = _beside(value, folder, merged, "aliases")
    found = _json(path, read_text(path, what="mapping")) if path.suffix == ".json" else read(path).value
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found.values()):
        raise ForeignError(f"{path}: expected a mapping: the detector's name: the dataset's name")
    return found


def _beside(value: str, folder: Path, merged: Merged, key: str) -> Path:
    """A file that a value names: as it is written, or beside the options file."""
    for path in (Path(value), folder / value):
        if is_ordinary(path):
            return path
    hint = nearest_path(folder / value)
    mark = merged.marks.get((key,), Origin("options"))
    raise ForeignError(f"{mark}: {key}: {value}: no such file{f'; {hint}' if hint else ''}")


def _json(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ForeignError(f"{path}: not JSON: {error}") from None
