"""A detector from darknet's cfg file: the layers become a layout, ``[detection]``, ``[region]`` and ``[yolo]`` a head.

The convolution (or connected layer) before a head is the head's own: its width depends on the number of classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from detzoo.errors import RecipeError
from detzoo_yolo.cfg import Section, read_cfg
from detzoo_yolo.layout import ACTIVATIONS
from detzoo_yolo.recipe_parts import anchor_parts, grid_parts, input_of, plan_of

HEADS: Final = ("detection", "region", "yolo")
LARGEST: Final = 2**20
"""Px of an image's side that no image reaches."""
TRAINING: Final = ("dontload", "dontloadscales", "stopbackward", "learning_rate", "burnin_update", "train_only_bn")
"""Options of any layer that concern training alone."""


def recipe_of(path: str | Path, *, names: str | Path | Sequence[str] | None = None) -> dict[str, Any]:
    """The recipe that a cfg file describes, as plain values: ``{"api": 1, "detectors": {name: this}}`` is a file of it.

    Args:
        path: a cfg of the layers of YOLO v1, v2, v3, their tiny versions and yolo-fastest.
        names: class names, or a file of them, one per line.

    Raises:
        RecipeError: naming line and layer.
    """
    net, sections = read_cfg(Path(path))
    layout = _Layout(sections)
    heads = layout.heads
    if not heads:
        raise RecipeError(f"{path}: no [detection], [region] or [yolo] layer, so it is no detector")
    classes = heads[0].section.whole("classes", 20, least=1)
    kinds = {head.section.name for head in heads}
    if len(kinds) > 1 or (kinds != {"yolo"} and len(heads) > 1):
        raise heads[1].section.refuse("several heads are supported only where all of them are [yolo]")
    for head in heads[1:]:
        if head.section.whole("classes", 20) != classes:
            raise head.section.refuse(f"classes differs from the first head's {classes}", "classes")
    parts = grid_parts(heads[0].section, heads[0].predictor) if kinds == {"detection"} else anchor_parts(heads)
    return {
        "summary": f"darknet's {Path(path).name}",
        "profile": "port",
        "architecture": "one_stage",
        "num_classes": classes,
        "classes": _names(names, classes),
        "input": input_of(net, letterbox=kinds != {"detection"}),
        "backbone": {"type": "yolo/darknet", "layers": layout.lines},
        "neck": {"type": "identity"},
        **parts,
        "train": plan_of(net, heads[-1].section),  # detector.c reads jitter and random of the last layer
    }


def _names(names: str | Path | Sequence[str] | None, classes: int) -> list[str] | None:
    if names is None:
        return None
    if isinstance(names, (str, Path)):
        try:
            found = [line.strip() for line in Path(names).read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise RecipeError(f"{names}: class names cannot be read ({reason})") from None
    else:
        found = list(names)
    if len(found) != classes:
        raise RecipeError(f"{len(found)} class names are given, the cfg has classes={classes}")
    return found


class HeadPlace:
    """A head of a cfg.

    Args:
        section: ``[yolo]``, ``[region]`` or ``[detection]``.
        predictor: the layer before it.
        stride: network px per cell of its map.
        name: of the map that it reads.
    """

    def __init__(self, section: Section, predictor: Section, stride: int, name: str) -> None:
        self.section, self.predictor, self.stride, self.name = section, predictor, stride, name


class _Layout:
    """Lines of a layout from sections, which count without the heads and their predictors."""

    def __init__(self, sections: list[Section]) -> None:
        self.lines: list[str] = []
        self.heads: list[HeadPlace] = []
        self.place: list[int | None] = []  # number in the layout of each layer of the cfg; None for those of a head
        self.strides: list[float] = []  # of each layer of the layout
        for section in sections:
            if section.name in HEADS:
                self._head(section, sections[section.index - 1])
                continue
            following = sections[section.index + 1] if section.index + 1 < len(sections) else None
            if following is not None and following.name in HEADS:
                self.place.append(None)  # the predictor
                continue
            self._layer(section)

    def _layer(self, section: Section) -> None:
        refs = self._refs(section)
        if section.name != "route" and self.place and self.place[-1] is None:  # a head hands nothing on in detzoo
            raise section.refuse("it reads the output of a detection head; only a route may follow one")
        line = _LINES[section.name](section, refs)
        before = self.strides[refs[0]] if refs else (self.strides[-1] if self.strides else 1.0)
        self.strides.append(_stride(section, before))
        self.place.append(len(self.lines))
        self.lines.append(line)

    def _refs(self, section: Section) -> list[int]:
        """Layers of the layout that a route or shortcut reads, relative to it."""
        key = {"route": "layers", "shortcut": "from"}.get(section.name)
        if key is None:
            return []
        found = []
        for number in section.numbers(key):
            # route: negative counts back, else from the first layer
            target = int(number) + (section.index if number < 0 else 0)
            if not 0 <= target < section.index:
                raise section.refuse(f"{key}={number:g} is no layer before it", key)
            place = self.place[target]
            if place is None:
                raise section.refuse(f"{key}={number:g} is a detection head; its output cannot be read", key)
            found.append(place - len(self.lines))
        if not found:
            raise section.refuse(f"{key} is missing")
        return found

    def _head(self, section: Section, predictor: Section) -> None:
        wanted = ("convolutional", "connected") if section.name == "detection" else ("convolutional",)
        plain = predictor.whole("batch_normalize", 0) == 0 and predictor.text("activation", "") == "linear"
        if predictor.index < 0 or predictor.name not in wanted or not plain:
            raise section.refuse(f"before it must stand a [{wanted[-1]}] with activation=linear and no batch_normalize")
        self.place.append(None)
        if not self.lines:
            raise section.refuse("there is no layer before its predictor")
        if not self.strides[-1] < LARGEST:
            raise section.refuse(f"its map has one cell for {self.strides[-1]:g} px, more than an image has")
        stride = int(self.strides[-1])  # a predictor keeps the size of the map
        name = f"s{stride}"
        if " -> " in self.lines[-1] or any(head.name == name for head in self.heads):
            name += f"_{len(self.heads)}"
        self.lines[-1] += f" -> {name}"
        self.heads.append(HeadPlace(section, predictor, stride, name))


def _stride(section: Section, before: float) -> float:
    factor = section.whole("stride", 2 if section.name == "upsample" else 1, least=1)
    if section.name in ("convolutional", "maxpool", "reorg", "local"):
        return before * factor
    return before / factor if section.name == "upsample" else before


def _words(section: Section, default: str) -> list[str]:
    name = section.text("activation", default)
    if name not in ACTIVATIONS:
        raise section.refuse(
            f"activation={name} is not supported; supported are {', '.join(ACTIVATIONS)}", "activation"
        )
    return [] if name == "leaky" else [name]  # the layout's default


def _convolution(section: Section, _: list[int]) -> str:
    section.allow("filters", "size", "stride", "pad", "padding", "batch_normalize", "activation", "groups", *TRAINING)
    size, stride = section.whole("size", 1, least=1), section.whole("stride", 1, least=1)
    pad = size // 2 if section.whole("pad", 0) else section.whole("padding", 0)  # parser.c: pad=1 means half the size
    words = [f"conv {section.whole('filters', 1, least=1)} {size}" + (f"/{stride}" if stride > 1 else "")]
    if not section.whole("batch_normalize", 0):
        words.append("bias")
    words += _words(section, "logistic")
    groups = section.whole("groups", 1, least=1)
    words += [f"groups={groups}"] * (groups > 1) + [f"pad={pad}"] * (pad != size // 2)
    return " ".join(words)


def _maximum(section: Section, _: list[int]) -> str:
    section.allow("size", "stride", "padding", *TRAINING)
    stride = section.whole("stride", 1, least=1)
    size = section.whole("size", stride, least=1)  # parser.c: size defaults to the stride
    if section.whole("padding", size - 1) != size - 1:
        raise section.refuse(f"padding must be size - 1 = {size - 1}, darknet's own", "padding")
    return f"max {size}/{stride}"


def _local(section: Section, _: list[int]) -> str:
    section.allow("filters", "size", "stride", "pad", "activation", *TRAINING)
    size, stride, pad = (section.whole(key, value) for key, value in (("size", 1), ("stride", 1), ("pad", 0)))
    if pad and size != 3:
        raise section.refuse("pad=1 is supported with size=3, where it keeps the size of the map", "pad")
    words = [f"local {section.whole('filters', 1, least=1)} {size}" + (f"/{stride}" if stride > 1 else "")]
    return " ".join(words + _words(section, "logistic") + ["pad=0"] * (not pad and size > 1))


def _connected(section: Section, _: list[int]) -> str:
    section.allow("output", "activation", "batch_normalize", *TRAINING)
    words = [f"fc {section.whole('output', 1, least=1)}", *_words(section, "logistic")]
    return " ".join(words + ["norm"] * bool(section.whole("batch_normalize", 0)))


def _route(section: Section, refs: list[int]) -> str:
    section.allow("layers", *TRAINING)
    return "route " + " ".join(str(ref) for ref in refs)


def _shortcut(section: Section, refs: list[int]) -> str:
    section.allow("from", "activation", *TRAINING)
    if len(refs) != 1:
        raise section.refuse(f"from names {len(refs)} layers; supported is one", "from")
    words = [word for word in _words(section, "linear") if word != "linear"]
    if section.text("activation", "linear") == "leaky":
        words = ["leaky"]
    return " ".join(["shortcut", str(refs[0]), *words])


def _upsample(section: Section, _: list[int]) -> str:
    section.allow("stride", "scale", *TRAINING)
    if section.number("scale", 1) != 1:
        raise section.refuse("scale must be 1", "scale")
    return f"up {section.whole('stride', 2, least=1)}"


def _reorg(section: Section, _: list[int]) -> str:
    section.allow("stride", "reverse", "flatten", "extra", *TRAINING)
    if any(section.whole(key, 0) for key in ("reverse", "flatten", "extra")):
        raise section.refuse("reverse, flatten and extra are not supported")
    return f"reorg {section.whole('stride', 1, least=1)}"


def _average(section: Section, _: list[int]) -> str:
    section.allow(*TRAINING)
    return "avg"


def _dropout(section: Section, _: list[int]) -> str:
    section.allow("probability", *TRAINING)
    return f"drop {section.number('probability', 0.5):g}"


_LINES: Final[dict[str, Callable[[Section, list[int]], str]]] = {
    "convolutional": _convolution,
    "maxpool": _maximum,
    "avgpool": _average,
    "local": _local,
    "connected": _connected,
    "route": _route,
    "shortcut": _shortcut,
    "upsample": _upsample,
    "reorg": _reorg,
    "dropout": _dropout,
}
