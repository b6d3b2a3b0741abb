"""Which words on a command line mean somebody else's detector, and of what kind. Free of torch."""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from detzoo.errors import DataError
from detzoo.foreign.errors import ForeignError
from detzoo.runtime.foreign_files import is_folder, is_ordinary, read_text
from detzoo.runtime.near_names import nearest_path

Kind: TypeAlias = Literal[
    "onnx", "openvino", "program", "torchscript", "hf", "torchvision", "rfdetr", "file", "module", "options"
]
FILES: Final[dict[str, Kind]] = {
    ".onnx": "onnx", ".xml": "openvino", ".pt2": "program", ".torchscript": "torchscript",
}  # fmt: skip
PREFIXES: Final[tuple[Kind, ...]] = ("hf", "torchvision", "rfdetr")
_IN_FILE: Final = re.compile(r"(?P<place>.+\.py):(?P<name>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*)")
_IN_MODULE: Final = re.compile(r"(?P<place>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*)")
_OPTIONS: Final = re.compile(r"^foreign[ \t]*:", re.MULTILINE)
_MODEL_TYPE: Final = re.compile(r'"model_type"\s*:')
_CHECKPOINTS: Final = ("best.safetensors", "last.safetensors")


@dataclass(frozen=True)
class ForeignTarget:
    """A foreign detector by its place.

    Args:
        written: as on the command line.
        kind: what it is.
        place: file, folder, module, or name in its library.
        name: of the callable in a file or module; empty otherwise.
    """

    written: str
    kind: Kind
    place: str
    name: str = ""

    @property
    def file(self) -> Path | None:
        """The file or folder that it lies in; None for names and modules."""
        if self.kind in ("module", "torchvision", "rfdetr"):
            return None
        path = Path(self.place)
        return path if self.kind != "hf" or is_folder(path) else None


def foreign_target(target: str) -> ForeignTarget | None:
    """What a foreign detector is called; None for recipes, runs and results.

    Args:
        target: ``model.onnx``, ``model.xml`` (OpenVINO), ``model.pt2``, ``model.torchscript``, ``hf:org/name``, a
            folder of transformers, ``torchvision:NAME``, ``rfdetr:NAME``, ``file.py:callable``,
            ``package.module:callable``, or a YAML file with the key ``foreign``.
    """
    for prefix in PREFIXES:
        if target.startswith(f"{prefix}:"):
            return ForeignTarget(target, prefix, target.removeprefix(f"{prefix}:"))
    path = Path(target)
    if (found := _IN_FILE.fullmatch(target)) is not None:
        return ForeignTarget(target, "file", found["place"], found["name"])
    if path.suffix.lower() in FILES:
        return ForeignTarget(target, FILES[path.suffix.lower()], target)
    if path.suffix in (".yaml", ".yml"):
        return ForeignTarget(target, "options", target) if _is_options(path) else None
    if (found := _IN_MODULE.fullmatch(target)) is not None:
        return ForeignTarget(target, "module", found["place"], found["name"])
    if path.suffix in (".pt", ".pth") and _is_torchscript(path):
        return ForeignTarget(target, "torchscript", target)
    return ForeignTarget(target, "hf", target) if _is_transformers_folder(path) else None


def is_foreign(target: str) -> bool:
    """Whether a target is a foreign detector."""
    return foreign_target(target) is not None


def check_there(target: ForeignTarget) -> None:
    """Reject a file that is not there, before anything is loaded.

    Raises:
        ForeignError: with the nearest name.
    """
    if target.kind in ("hf", "torchvision", "rfdetr", "module", "options"):
        if not target.place:
            raise ForeignError(f"{target.written}: a name is missing after the colon")
        return
    path = Path(target.place)
    if not is_ordinary(path):
        hint = nearest_path(path, lambda one: one.suffix == path.suffix)
        raise ForeignError(f"{path}: no such file{f'; {hint}' if hint else ''}")
    if target.kind == "openvino" and not is_ordinary(path.with_suffix(".bin")):
        raise ForeignError(f"{path}: its weights are missing: {path.with_suffix('.bin')} must lie beside it")


def _is_options(path: Path) -> bool:
    try:
        return is_ordinary(path) and _OPTIONS.search(read_text(path, what="YAML file")) is not None
    except DataError:  # whoever reads recipes says what is wrong, with the line
        return False


def _is_torchscript(path: Path) -> bool:
    """Whether a file holds a program; a checkpoint of torch.save is such an archive too, without code."""
    if not is_ordinary(path) or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(part.split("/")[1:2] == ["code"] for part in archive.namelist())


def _is_transformers_folder(path: Path) -> bool:
    config = path / "config.json"
    if not is_folder(path) or not is_ordinary(config) or any(is_ordinary(path / name) for name in _CHECKPOINTS):
        return False
    try:
        return _MODEL_TYPE.search(read_text(config, what="configuration")) is not None
    except DataError:
        return False
