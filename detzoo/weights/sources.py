"""Where weights come from: files, and addresses that are fetched once, checked and cached.

Nothing is unpickled: safetensors, or ``torch.load(weights_only=True)``.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlparse
from urllib.request import url2pathname

import torch
from torch import Tensor

from detzoo.errors import MachineError, WeightsError
from detzoo.runtime.foreign_files import is_folder, is_ordinary
from detzoo.runtime.locks import locked
from detzoo.runtime.machine_failures import machine_failure
from detzoo.runtime.near_names import nearest_path
from detzoo.runtime.web import ascii_address, parse_address
from detzoo.weights.download import download
from detzoo.weights.hub import SCHEME, fetch_from_hub
from detzoo.weights.onnx_initialisers import read_initialisers

CACHE_VARIABLE: Final = "DETZOO_CACHE"
_HASH_IN_NAME: Final = re.compile(r"-([0-9a-f]{8,64})\.[a-z]+$")
_LONGEST_HEADER: Final = 100_000_000  # bytes; safetensors' own limit
_WRAPPERS: Final = ("state_dict", "model_state_dict", "model", "params", "net")


def default_cache() -> Path:
    """Folder of fetched files: ``$DETZOO_CACHE``, else ``~/.cache/detzoo``."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "detzoo")


def fetch(
    location: str | Path, *, sha256: str | None = None, cache_dir: str | Path | None = None, progress: bool = True
) -> Path:
    """Make the file at ``location`` available, whole and checked.

    A download goes to a temporary name and is renamed when complete and checked, so that no other process ever sees
    half a file; an interrupted one is resumed where the hash is known. A cached file is checked again, without a
    request.

    Args:
        location: a path, ``file://``, ``http://``, ``https://`` or ``hf://owner/name@revision/file.safetensors``, which
            the Hugging Face Hub's own cache keeps.
        sha256: hexadecimal, all of it or its beginning (8 digits or more). Without it, digits at the end of the file's
            name count, as in ``ssd300_vgg16_coco-b556d3b4.pth``, when the file is downloaded.
        cache_dir: in place of the default cache; not of the Hub's.
        progress: show it on stderr.

    Returns:
        path of the file.

    Raises:
        WeightsError: not there, not reachable, incomplete, or of another hash.
    """
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{8,64}", sha256):
        raise WeightsError(f"sha256 of {location} must be 8 to 64 hexadecimal digits, found: {sha256!r}")
    try:
        url = parse_address(str(location))
        address = ascii_address(url) if url.scheme in ("http", "https") else None
    except ValueError as error:
        raise WeightsError(
            f"cannot read weights from {str(location)!r}: not an address ({error}); correct it"
        ) from None
    if address is not None:
        expected = sha256 or _hash_in_name(url.path)
        return _fetch_url(address, expected, Path(cache_dir or default_cache()), progress)
    if url.scheme == SCHEME:
        path = fetch_from_hub(str(location), progress=progress)
        if sha256 is not None:
            _check(path, sha256, "Correct sha256 in the recipe, or the revision; else do not trust the file.")
        return path
    if url.scheme == "file":
        return _local(Path(url2pathname(unquote(url.path))), sha256)
    if "://" in str(location):
        raise WeightsError(
            f"cannot read weights from {location}: known are paths, file://, http://, https:// and hf:// addresses"
        )
    return _local(Path(location).expanduser(), sha256)


def cached_path(url: str, cache_dir: str | Path | None = None) -> Path:
    """Where ``fetch`` keeps what it downloads from ``url``: a folder for each address, as names may be equal."""
    folder = hashlib.sha256(url.encode()).hexdigest()[:12]  # files of one name from two addresses
    name = Path(unquote(urlparse(url).path)).name
    if name in ("", ".", "..") or len(os.fsencode(name)) > 200:  # systems allow 255, and a suffix follows
        name = "weights"
    return Path(cache_dir or default_cache()) / "weights" / folder / name


def file_sha256(path: Path) -> str:
    """The file's SHA-256, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash_in_name(path: str) -> str | None:
    found = _HASH_IN_NAME.search(path)
    return found[1] if found else None


def _local(path: Path, sha256: str | None) -> Path:
    if not is_ordinary(path):
        what = "is a folder, not a file" if is_folder(path) else "does not exist"
        hint = "" if is_folder(path) else nearest_path(path)
        raise WeightsError(f"weights file {path} {what} (looked for in {Path.cwd()}){f'; {hint}' if hint else ''}")
    if sha256 is not None:
        _check(path, sha256, f"Use the file that {sha256} stands for, or correct sha256 in the recipe.")
    return path


def _fetch_url(url: str, expected: str | None, cache: Path, progress: bool) -> Path:
    target = cached_path(url, cache)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.with_name(target.name + ".lock"), wait=True):  # one process downloads, the others wait
            if is_ordinary(target):
                if expected is not None:
                    _check(target, expected, "Delete it and run again to download it again.")
                return target
            part = target.with_name(target.name + ".part")
            known = download(
                url, part, resume=expected is not None, progress=progress, by_hand=_by_hand(target, expected)
            )
            if expected is not None:
                _check_download(url, part, expected)
            elif (text := _text_problem(part)) is not None:
                part.unlink()
                raise WeightsError(f"{url} {text}. {_by_hand(target, expected)}")
            elif not known and not _is_whole(part):
                part.unlink()
                raise WeightsError(
                    f"{url}: the server does not say how long the file is, and what came is no whole file of weights. "
                    f"Run again, or give sha256, which tells. {_by_hand(target, expected)}"
                )
            part.replace(target)  # a rename: other processes see all of it or nothing
    except OSError as error:
        if (reason := machine_failure(error)) is not None:
            raise MachineError(f"{target}: {reason}; make room, or set {CACHE_VARIABLE} to another folder") from None
        raise WeightsError(
            f"cannot write to the cache folder {target.parent}: {error}. Set {CACHE_VARIABLE} to a folder of your own."
        ) from None
    return target


def _is_whole(path: Path) -> bool:
    """Whether a file ends where its own format says; False too for formats that do not say."""
    with path.open("rb") as file:
        head = file.read(9)
        if head.startswith(b"PK"):  # torch.save: a zip archive, whose list of contents stands at its end
            return zipfile.is_zipfile(path)
        length = int.from_bytes(head[:8], "little")
        if head[8:] != b"{" or length > _LONGEST_HEADER:
            return False
        file.seek(8)
        try:
            tensors = json.loads(file.read(length))
            ends = [one["data_offsets"][1] for name, one in tensors.items() if name != "__metadata__"]
            return path.stat().st_size == 8 + length + max(ends, default=0)
        except (ValueError, KeyError, TypeError, IndexError, RecursionError, AttributeError):
            return False


def _by_hand(target: Path, expected: str | None) -> str:
    hash_ = f" (sha256 {expected}{'...' if len(expected) < 64 else ''})" if expected else ""
    return (
        f"Without a network, put the file{hash_} by hand at\n  {target}\n"
        f"and run again; {CACHE_VARIABLE} moves the cache folder."
    )


def _check(path: Path, expected: str, next_step: str) -> None:
    found = file_sha256(path)
    if not found.startswith(expected.lower()):
        raise WeightsError(f"{path} is not the expected file: sha256 {found}, expected {expected}. {next_step}")


def _check_download(url: str, part: Path, expected: str) -> None:
    found, size = file_sha256(part), part.stat().st_size
    if not found.startswith(expected.lower()):
        part.unlink()  # else the next call would resume it
        raise WeightsError(
            f"{url} gave another file than expected: {size} bytes, sha256 {found}, expected {expected}. Deleted. "
            "Run again if the transfer was damaged; else the file has changed at its source."
        )


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Tensors by key from a safetensors file, a ``torch.save``d state dict or an ONNX file, on the CPU.

    A state dict wrapped in a checkpoint (``state_dict``, ``model``, ...) is unwrapped; of an ONNX file the parameters
    of its layers are read (``onnx_initialisers``).

    Raises:
        WeightsError: unreadable, or it holds more than tensors.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise WeightsError(f"{path}: weights cannot be read ({error.strerror})") from None
    if (problem := _text_problem(path)) is not None:
        raise WeightsError(f"{path} {problem}.")
    if path.suffix == ".onnx":
        return read_initialisers(path)
    state = _read_safetensors(path) if _is_safetensors(path, head) else _read_torch(path)
    for wrapper in _WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
            break
    if not isinstance(state, dict) or not state:
        raise WeightsError(f"{path} holds no state dict but {_kind(state)}")
    strangers = [str(key) for key, value in state.items() if not isinstance(value, Tensor)]
    if strangers:
        raise WeightsError(f"{path} holds more than tensors: {_listed(strangers)}. Save model.state_dict() alone.")
    return {str(key): value for key, value in state.items()}


def _text_problem(path: Path) -> str | None:
    """What a file is that holds text in place of weights; pickle's own error says nothing of a web page."""
    with path.open("rb") as file:
        head = file.read(512)
    start = head.lstrip().lower()
    if not head:
        return "is empty. Fetch it again"
    if start.startswith((b"<!doctype", b"<html")):
        return "is a web page, not weights. Fetch the file itself: the address led to a page"
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file. Run git lfs pull where it came from"
    if start.startswith((b'{"', b"{\n", b"{ ")):
        return f"is JSON, not weights: {start[:60].decode('utf-8', 'replace')!r}. Fetch the file itself"
    return None


def _is_safetensors(path: Path, head: bytes) -> bool:
    """The format starts with the length of its JSON header, 8 bytes, and the JSON's brace."""
    return path.suffix == ".safetensors" or (head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**32)


def _read_safetensors(path: Path) -> Any:
    import safetensors
    from safetensors.torch import load_file

    try:
        return load_file(path, device="cpu")
    except safetensors.SafetensorError as error:
        raise WeightsError(f"{path} is not a complete safetensors file: {error}. Fetch or write it again.") from None


def _read_torch(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's advice about old file formats is not for the reader of a file
            # a pickle may run code; a file may name a missing GPU
            return torch.load(path, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError:
        raise WeightsError(
            f"{path} is not a plain state dict: reading it would run code from the file, so it is rejected. Have its "
            "maker save model.state_dict(), or better a safetensors file."
        ) from None
    except Exception as error:  # damaged bytes lead the unpickler anywhere: a stack that is empty, a type that is none
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path} is not a file of weights, or damaged: {reason}. Fetch it again.") from None


def _kind(value: Any) -> str:
    return "an empty mapping" if isinstance(value, dict) else f"a {type(value).__name__}"


def _listed(names: list[str], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
