"""Checkpoints: one safetensors file each, replaced atomically; nothing in them is ever unpickled.

Tensors are named ``model.*``, ``ema.*``, ``optim.*`` and ``rng.RANK.*``. Everything else is JSON under the key
``detzoo`` of the file's metadata: recipe, classes, versions, and the state of the run.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from detzoo.errors import WeightsError
from detzoo.plugins.registry import get_registry
from detzoo.recipes.full_names import stored_values
from detzoo.runtime.atomic_files import write_bytes
from detzoo.runtime.foreign_files import is_folder, is_ordinary, is_there
from detzoo.runtime.json_text import check_parts, parse_object
from detzoo.runtime.near_names import nearest_path
from detzoo.weights.exported_files import reject_exported

if TYPE_CHECKING:
    from detzoo.interfaces import Detector

FORMAT: Final = 1
METADATA_KEY: Final = "detzoo"
LAST, BEST, INITIAL = "last.safetensors", "best.safetensors", "initial.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Args:
        recipe: ``{"name": ..., "values": ...}`` of the detector.
        classes: class names by label, None for outputs that are not used.
        model: state dict of the detector.
        ema: averaged state dict, or empty.
        optim: optimiser state by ``parameter/key``, or empty.
        rng: states of the random generators by ``RANK.name``, or empty.
        run: state and settings of the run; plain JSON.
    """

    recipe: dict[str, Any]
    classes: tuple[str | None, ...]
    model: dict[str, Tensor]
    ema: dict[str, Tensor] = field(default_factory=dict)
    optim: dict[str, Tensor] = field(default_factory=dict)
    rng: dict[str, Tensor] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)


@functools.cache
def versions() -> dict[str, str]:
    """What wrote a file; read from the packages' metadata, for importing torchvision takes seconds."""
    from importlib.metadata import version

    from detzoo.runtime.version import __version__

    return {"detzoo": __version__} | {name: version(name) for name in ("torch", "torchvision", "numpy")}


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a file so that at any moment either the old one or the new one is there, whole, even after a power cut."""
    described = {
        "format": FORMAT,
        "recipe": checkpoint.recipe,
        "classes": list(checkpoint.classes),
        "versions": versions(),
        "run": checkpoint.run,
        "optimiser_tensors": len(checkpoint.optim),
    }
    tensors = _separate(
        (f"{part}.{name}", value)
        for part in ("model", "ema", "optim", "rng")
        for name, value in getattr(checkpoint, part).items()
    )
    # Not save_file: its own temporary file has a random name, and a killed process would leave it behind for good
    write_bytes(path, save(tensors, metadata={METADATA_KEY: json.dumps(described)}))


def stage_file(name: str) -> str:
    """Where a run folder keeps the weights with which a stage ended."""
    return f"stage-{name}.safetensors"


def save_model(detector: Detector, path: Path) -> None:
    """Write a detector's weights, recipe and class names: all that ``detzoo.load`` needs."""
    recipe = {"name": detector.recipe.name, "values": stored_values(detector.recipe.values)}
    save_checkpoint(path, Checkpoint(recipe, detector.classes, detector.state_dict()))


def _separate(named: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors on the CPU, contiguous, none sharing memory with another: tied weights are written twice."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, value in named:
        whole = value.detach().to("cpu").contiguous()
        place = whole.untyped_storage().data_ptr()
        found[name] = whole.clone() if place in seen else whole  # safetensors refuses shared memory
        seen.add(place)
    return found


def load_checkpoint(path: Path, *, parts: Sequence[str] = ("model", "ema", "optim", "rng")) -> Checkpoint:
    """Read a file, or only some ``parts`` of it.

    Raises:
        WeightsError: it is missing, damaged, or no checkpoint of detzoo.
    """
    _existing(path)
    found: dict[str, dict[str, Tensor]] = {part: {} for part in ("model", "ema", "optim", "rng")}
    try:
        with safe_open(path, framework="pt", device="cpu") as file:  # only the wanted tensors leave the disk
            described = _described(path, file.metadata())
            for key in list(file.keys()):
                part, _, name = key.partition(".")
                if part in parts:
                    found[part][name] = file.get_tensor(key)
    except SafetensorError as error:
        raise WeightsError(
            f"{path}: not a complete safetensors file: {error}; copy it again or resume another run; a file of "
            "another library (.pth, .onnx, .weights) goes through `detzoo weights import`, one of a backbone "
            "under backbone.weights"
        ) from None
    there, written = len(found["optim"]), described.get("optimiser_tensors")
    if "optim" in parts and written not in (None, there):  # a run that went on without them would train otherwise
        raise WeightsError(
            f"{path}: it was altered: {there} of {written} tensors of the optimiser are left, so no run can go on from "
            f"it; `--weights {path}` starts a new one with its weights"
        )
    return Checkpoint(described["recipe"], tuple(described["classes"]), **found, run=described["run"])


def _described(path: Path, metadata: Mapping[str, str] | None) -> dict[str, Any]:
    if not metadata or METADATA_KEY not in metadata:
        raise WeightsError(
            f"{path}: a safetensors file, but not a checkpoint of detzoo (no {METADATA_KEY!r} in its metadata); "
            "foreign weights come in through `detzoo weights import` or detzoo.convert_weights"
        )
    place = f"{path}: {_ALTERED}"
    described = parse_object(metadata[METADATA_KEY], place, {}, error=WeightsError)
    number = described.get("format")
    if isinstance(number, int) and number > FORMAT:  # older formats are read, newer ones cannot be known
        made_by = described.get("versions")
        version = made_by.get("detzoo", "?") if isinstance(made_by, dict) else "?"
        raise WeightsError(f"{path}: written by detzoo {version} in a newer format; upgrade detzoo to read it")
    return check_parts(described, place, _PARTS, error=WeightsError)


def _is_recipe(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("name"), str) and isinstance(value.get("values"), dict)


def _are_classes(value: Any) -> bool:
    return isinstance(value, list) and all(name is None or isinstance(name, str) for name in value)


_ALTERED: Final = "the metadata were altered or damaged; take another checkpoint of the run"
_PARTS: Final[dict[str, Callable[[Any], bool]]] = {
    "format": lambda value: type(value) is int and value > 0,
    "recipe": _is_recipe,
    "classes": _are_classes,
    "run": lambda value: isinstance(value, dict),
}
"""What the metadata must hold, and how to tell."""


def checkpoint_of(place: Path) -> Path:
    """The file behind a run folder (``best`` where there is one, else ``last``) or a path to a checkpoint.

    Raises:
        WeightsError: there is none.
    """
    reject_exported(place)
    if not is_folder(place):
        return _existing(place)
    for name in (BEST, LAST):
        if is_ordinary(place / name):
            return place / name
    raise WeightsError(
        f"{place}: no {BEST} or {LAST} in it; is it a run folder, and has it reached its first checkpoint?"
    )


def _existing(path: Path) -> Path:
    if path.suffix in (".yaml", ".yml") or (not is_there(path) and str(path) in get_registry().detectors()):
        raise WeightsError(f"{path} is no run or checkpoint; recipes are built: detzoo.build({str(path)!r})")
    if not is_ordinary(path):
        hint = nearest_path(path)
        raise WeightsError(f"{path}: no such run folder or checkpoint{f'; {hint}' if hint else ''}")
    return path


def load_model_state(place: Path | str) -> tuple[dict[str, Any], tuple[str | None, ...], dict[str, Tensor]]:
    """What a detector is rebuilt from.

    Args:
        place: a run folder or a checkpoint.

    Returns:
        the recipe's values, the class names, and the state dict: the moving average where the run kept one.
    """
    checkpoint = load_checkpoint(checkpoint_of(Path(place)), parts=("model", "ema"))
    return checkpoint.recipe["values"], checkpoint.classes, checkpoint.ema or checkpoint.model  # what was evaluated
