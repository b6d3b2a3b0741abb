"""The kinds of input: what each starts from, which of its files are changed, and what is done with it."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import random
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import torch
import typer

from detzoo_retinanet.openvino_ir import read_ir
from detzoo_ssd.tflite_file import read_tflite
from detzoo_yolo.commands import darknet
from detzoo_yolo.weights_file import read_weights
from tests.campaign import uses, valid_datasets, valid_files, valid_graphs
from tests.campaign.mutations import Files, mutate, place_on_disk
from tests.campaign.strange_values import as_text, change_tree, fitting, strange

OVERRIDES: Final = "overrides.txt"
"""Holds what ``--set`` is given, one per line."""


@dataclass(frozen=True)
class Kind:
    """Inputs that are read the same way.

    Args:
        sets: makes the valid sets of files.
        use: reads what stands in a folder; raises DetzooError, or what is a finding.
        targets: endings of the files that are changed most of the time; all files by default.
        on_disk: whether files may also become pipes, links and the like.
        changes: makes the changes, in place of those of a file.
        share: of all inputs of a campaign.
    """

    sets: Callable[[], Sequence[Files]]
    use: Callable[[Path], None]
    targets: tuple[str, ...] = ("",)
    on_disk: bool = False
    changes: Callable[[random.Random, Path], list[str]] | None = None
    share: float = 1.0


@cache
def valid_sets(kind: str) -> Sequence[Files]:
    """The valid sets of a kind, made once."""
    return KINDS[kind].sets()


def make(kind: str, seed: int, case: int, folder: Path) -> list[str]:
    """Write one input into an empty folder, and say how it differs from a valid one; case 0, 1, ... of every seed."""
    rng = random.Random(f"{kind}/{seed}/{case}")
    what = KINDS[kind]
    files = dict(rng.choice(valid_sets(kind)))
    told = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        wanted = [name for name in files if name.endswith(what.targets)] if rng.random() < 0.9 else list(files)
        if wanted and what.changes is None:
            name = rng.choice(wanted)
            files[name], change = mutate(rng, name, files[name])
            told.append(f"{name}: {change}")
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    if what.on_disk and rng.random() < 0.04:
        name = rng.choice(list(files))
        told.append(f"{name}: {place_on_disk(rng, folder, name)}")
    return told + (what.changes(rng, folder) if what.changes else [])


def _dataset(folder: Path) -> None:
    uses.use_dataset(_place(folder))


def _conversion(folder: Path) -> None:
    try:
        uses.convert_dataset(_place(folder))
    finally:
        shutil.rmtree(folder / "converted", ignore_errors=True)


def _place(folder: Path) -> Path:
    """What a user would name: the description where there is one, else the folder."""
    described = folder / "data.yaml"
    return described if described.exists() else folder


def _image(folder: Path) -> None:
    uses.use_image(next(folder.iterdir()))


def _recipe(folder: Path) -> None:
    uses.use_recipe(folder / "tiny.yaml", [])


def _set(folder: Path) -> None:
    uses.use_recipe(folder / "tiny.yaml", _overrides(folder))


def _built(folder: Path) -> None:
    uses.build_and_look(folder / "tiny.yaml", _overrides(folder) if (folder / OVERRIDES).exists() else [])


def _overrides(folder: Path) -> list[str]:
    text = (folder / OVERRIDES).read_bytes().decode("utf-8", "surrogateescape")
    return [line for line in text.split("\n") if line]


def _new_overrides(rng: random.Random, folder: Path) -> list[str]:
    """One to three ``--set``: damaged ones, and some of another value that may fit, so that detectors are built."""
    made = [rng.choice((_damaged_override, _other_value, _fitting_value, _fitting_value)) for _ in range(3)]
    told = [make_one(rng).replace("\n", " ") for make_one in made[: rng.choice((1, 1, 2, 3))]]
    (folder / OVERRIDES).write_bytes("\n".join(told).encode(errors="surrogatepass"))
    return [f"--set {text[:100]}" for text in told]


def _fitting_value(rng: random.Random) -> str:
    key, value = rng.choice(valid_files.leaves())
    return f"{key}={json.dumps(fitting(rng, value))}"


def _other_value(rng: random.Random) -> str:
    key, value = rng.choice(valid_files.leaves())
    key = key if rng.random() < 0.7 else ".".join(key.split(".")[-rng.choice((1, 2)) :])  # its short form
    other = value if rng.random() < 0.7 else rng.choice(valid_files.leaves())[1]
    tree, _ = change_tree(rng, {"x": copy.deepcopy(other)})
    return f"{key}={as_text(json.dumps(tree.get('x') if isinstance(tree, dict) else tree))}"


def _damaged_override(rng: random.Random) -> str:
    key, _, value = rng.choice(valid_files.SETS).partition("=")
    what = rng.choice(("key", "value", "value", "letter", "index", "dots", "whole", "cut", "twice"))
    if what == "key":
        parts = key.split(".")
        parts[rng.randrange(len(parts))] = str(strange(rng))
        key = ".".join(parts)
    elif what == "value":
        value = str(strange(rng))
    elif what == "index":
        key += f"[{strange(rng) if rng.random() < 0.5 else rng.choice((-1, 0, 1, 2, '0:1', '00'))}]"
    elif what == "dots":
        key = ".".join([key] * rng.choice((2, 40, 1000)))
    text = f"{key}={value}" if what != "whole" else str(strange(rng))
    at = rng.randrange(len(text)) if text else 0
    if what == "letter":
        text = text[:at] + rng.choice("[]{}.=,:#&*!|>'\"%@`\t\x85 é") + text[at + 1 :]
    elif what in ("cut", "twice"):
        text = text[:at] + (text[at:] * 2 if what == "twice" else "")
    return as_text(text)


def _manifest(folder: Path) -> None:
    sys.path.insert(0, str(folder))
    try:
        uses.use_manifest(folder)
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.partition(".")[0] == "zoo_x"]:
            del sys.modules[name]


def _cfg(folder: Path) -> None:
    out = folder / "out.yaml"
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # a line for each recipe that is written
            darknet(folder / "x.cfg", out, folder / "x.names")
        uses.use_recipe(out, [])
    except typer.Exit:
        pass
    finally:
        out.unlink(missing_ok=True)


def _weights(folder: Path) -> None:
    uses.use_weights(next(folder.iterdir()))


def _checkpoint(folder: Path) -> None:
    uses.use_checkpoint(folder / "x.safetensors")


def _darknet_weights(folder: Path) -> None:
    assert read_weights(folder / "x.weights")["values"].dim() == 1


def _openvino_ir(folder: Path) -> None:
    assert all(value.dtype == torch.float32 for value in read_ir(folder / "x.xml").values())


def _tflite(folder: Path) -> None:
    assert all(value.dtype == torch.float32 for value in read_tflite(folder / "x.tflite").values())


KINDS: Final[dict[str, Kind]] = {
    "coco": Kind(valid_datasets.coco_sets, _dataset, (".json",), True),
    "voc": Kind(valid_datasets.voc_sets, _dataset, (".xml", ".txt"), True),
    "yolo": Kind(valid_datasets.yolo_sets, _dataset, (".txt",), True),
    "tools": Kind(valid_datasets.tool_sets, _dataset, (".json", ".xml", ".csv"), True, share=0.5),
    "masks": Kind(valid_datasets.mask_sets, _dataset, (".png", ".txt"), True, share=0.5),
    "data-yaml": Kind(
        lambda: [*valid_datasets.yaml_sets(), *valid_datasets.yolo_sets()[:3], valid_datasets.voc_sets()[1]],
        _dataset,
        ("data.yaml",),
        True,
    ),
    "convert": Kind(
        lambda: [*valid_datasets.coco_sets(), *valid_datasets.voc_sets(), *valid_datasets.yolo_sets()],
        _conversion,
        (".json", ".xml", ".txt", ".yaml"),
        share=0.5,
    ),
    "results": Kind(valid_files.results, uses.use_results, ("detections.json", "names.json")),
    "image": Kind(valid_files.images, _image),
    "recipe": Kind(lambda: [{"tiny.yaml": valid_files.TINY.encode()}], _recipe, (".yaml",)),
    "set": Kind(lambda: [{"tiny.yaml": valid_files.TINY.encode()}], _set, changes=_new_overrides),
    "build": Kind(lambda: [{"tiny.yaml": valid_files.TINY.encode()}], _built, (".yaml",), share=0.3),
    "set-build": Kind(lambda: [{"tiny.yaml": valid_files.TINY.encode()}], _built, changes=_new_overrides, share=0.5),
    "manifest": Kind(valid_files.manifests, _manifest, ("registry.yaml", "schemas.json"), share=0.3),
    "cfg": Kind(
        lambda: [{"x.cfg": valid_files.CFG.encode(), "x.names": b"cat\ndog\n"}], _cfg, (".cfg", ".cfg", ".names")
    ),
    "weights": Kind(valid_files.weights, _weights),
    "darknet-weights": Kind(valid_files.darknet_weights, _darknet_weights, share=0.3),
    "openvino-ir": Kind(valid_graphs.openvino_ir, _openvino_ir, share=0.3),
    "tflite": Kind(valid_graphs.tflite, _tflite, share=0.3),
    "checkpoint": Kind(lambda: [{"x.safetensors": valid_files.tiny_checkpoint()}], _checkpoint, share=0.5),
}
