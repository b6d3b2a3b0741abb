"""Runs on the Hugging Face Hub: what ``detzoo push`` writes there, and how a repository is known to hold one.

``hf:owner/name`` may also be a model of transformers. A repository is a run of detzoo if and only if it holds the file
``detzoo.json``; nothing else about it is looked at, and nothing in it is executed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from detzoo.errors import WeightsError
from detzoo.runtime.foreign_files import is_folder, read_text
from detzoo.runtime.json_text import parse_object
from detzoo.weights.hub import HubFile, MissingOnHubError, fetch_hub_file
from detzoo.weights.sources import fetch

PREFIX: Final = "hf:"
MARK: Final = "detzoo.json"
MODEL: Final = "model.safetensors"
FORMAT: Final = 1
_PLACE: Final = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/@]+))?", re.ASCII)


def repository_of(target: str) -> tuple[str, str] | None:
    """``owner/name`` and revision (``main`` unless written) of ``hf:owner/name@revision``; None for anything else.

    A folder of this name is meant as a folder.
    """
    found = _PLACE.fullmatch(target.removeprefix(PREFIX)) if target.startswith(PREFIX) else None
    if found is None or is_folder(Path(found[0])):
        return None
    return found["repository"], found["revision"] or "main"


def mark(sha256: str) -> dict[str, Any]:
    """What ``detzoo.json`` holds."""
    return {"format": FORMAT, "model": MODEL, "sha256": sha256}


def fetch_hub_run(target: str, *, progress: bool = True) -> Path | None:
    """The checkpoint of a run on the Hub, in the cache that all tools share, of the hash that its repository names.

    ``HF_ENDPOINT``, ``HF_HUB_OFFLINE`` and ``HF_TOKEN`` are respected. Mark and weights are taken from one commit.

    Args:
        target: ``hf:owner/name``, with ``@revision`` for a commit, tag or branch.
        progress: show it on stderr.

    Returns:
        the checkpoint; None if the target is no repository, or one that holds no run of detzoo.

    Raises:
        WeightsError: the repository or its revision are not there, its mark or weights are damaged, or neither the Hub
            nor the cache can tell what it holds.
    """
    place = repository_of(target)
    if place is None:
        return None
    repository, revision = place
    try:
        path = fetch_hub_file(HubFile(repository, revision, MARK), target, progress=False)
    except MissingOnHubError:
        return None
    except WeightsError:
        if _holds_other(repository, revision):  # a model of transformers that was fetched before, without a network
            return None
        raise
    described = parse_object(
        read_text(path, what="description of a run"),
        f"{target}: {MARK} was altered or damaged",
        {
            "format": lambda value: type(value) is int and value > 0,
            "sha256": lambda value: isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None,
        },
        error=WeightsError,
    )
    if described["format"] > FORMAT:
        raise WeightsError(f"{target}: pushed by a newer detzoo; upgrade detzoo to read it")
    commit = path.parent.name  # .../snapshots/COMMIT/detzoo.json
    return fetch(f"hf://{repository}@{commit}/{MODEL}", sha256=described["sha256"], progress=progress)


def _holds_other(repository: str, revision: str) -> bool:
    """Whether the cache holds transformers' ``config.json`` of a repository, and no mark."""
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(repository, "config.json", revision=revision), str)
