"""Files of the Hugging Face Hub, through ``huggingface_hub``: its cache, its mirrors, its offline mode."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from detzoo.errors import MachineError, WeightsError
from detzoo.runtime.machine_failures import machine_failure

SCHEME: Final = "hf"
_FORM: Final = "hf://OWNER/NAME@REVISION/FILE.safetensors"
_ADDRESS: Final = re.compile(
    r"hf://(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/@]+))?/(?P<file>[^@]+)", re.ASCII
)
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_OTHER_REPOSITORIES: Final = ("datasets", "spaces", "buckets")


@dataclass(frozen=True)
class HubFile:
    """One file of a repository.

    Args:
        repository: ``owner/name``.
        revision: a commit, a tag or a branch.
        file: its path in the repository; safetensors, as nothing else is read from there.
    """

    repository: str
    revision: str
    file: str


def parse_hub_address(location: str) -> HubFile:
    """Read ``hf://owner/name@revision/file.safetensors``, as ``huggingface_hub`` writes it; no revision means ``main``.

    Raises:
        WeightsError: of another form, of a dataset or space, or not safetensors.
    """
    found = _ADDRESS.fullmatch(location)
    if found is None or found["repository"].partition("/")[0] in _OTHER_REPOSITORIES:
        raise WeightsError(f"cannot read weights from {location!r}: write {_FORM}, of a model repository")
    if not found["file"].endswith(".safetensors"):
        raise WeightsError(
            f"cannot read weights from {location}: only .safetensors files are read from the Hub; "
            "look for one in the repository"
        )
    return HubFile(found["repository"], found["revision"] or "main", found["file"])


def is_pinned(location: str) -> bool:
    """Whether an address names a commit of the Hub, whose files never change."""
    return location.startswith(f"{SCHEME}://") and _COMMIT.fullmatch(parse_hub_address(location).revision) is not None


def fetch_from_hub(location: str, *, progress: bool) -> Path:
    """Make a file of the Hub available in the cache that all tools share (``HF_HOME``, ``HF_HUB_CACHE``).

    A file whose revision is a commit is requested once; of a branch or tag the server is asked for its newest, and
    without a network what was fetched before is taken. ``HF_ENDPOINT`` names a mirror, ``HF_HUB_OFFLINE=1`` forbids
    requests, ``HF_TOKEN`` opens private and gated repositories.

    Args:
        location: as ``parse_hub_address`` reads it.
        progress: show it on stderr.

    Returns:
        path of the file in the Hub's cache.

    Raises:
        WeightsError: the address, the repository, its revision or file are wrong, or it cannot be reached.
        MachineError: the cache cannot be written.
    """
    return fetch_hub_file(parse_hub_address(location), location, progress=progress)


class MissingOnHubError(WeightsError):
    """The repository and its revision are there, and the file is not."""


def fetch_hub_file(wanted: HubFile, location: str, *, progress: bool) -> Path:
    """``fetch_from_hub`` for a file of any kind.

    Args:
        wanted: the file.
        location: as the user wrote it, for messages.
        progress: show it on stderr.

    Raises:
        MissingOnHubError: the repository does not hold the file.
        WeightsError: the repository or its revision are wrong, or the Hub cannot be reached.
        MachineError: the cache cannot be written.
    """
    from huggingface_hub import errors, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.utils.tqdm import tqdm

    class Quiet(tqdm):  # the library itself switches its bars off for the whole process only
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **(kwargs | {"disable": True}))  # type: ignore[no-untyped-call]

    endpoint = os.environ.get("HF_ENDPOINT") or None  # the library reads it once, when imported
    try:
        kept = try_to_load_from_cache(wanted.repository, wanted.file, revision=wanted.revision)
        if isinstance(kept, str) and _COMMIT.fullmatch(wanted.revision) is not None:
            return Path(kept)
        unreachable = _unreachable(wanted, endpoint)
        if unreachable is not None:
            if isinstance(kept, str):
                return Path(kept)
            raise unreachable
        return Path(
            hf_hub_download(
                wanted.repository,
                wanted.file,
                revision=wanted.revision,
                endpoint=endpoint,
                tqdm_class=None if progress else Quiet,
            )
        )
    except errors.RemoteEntryNotFoundError as error:
        raise MissingOnHubError(f"cannot fetch {location}: {_reason(error, wanted)}") from None
    except Exception as error:  # its HTTP client raises kinds of its own, others in each of its versions
        if (reason := machine_failure(error)) is not None:
            raise MachineError(f"{location}: {reason}; make room, or set HF_HOME to another folder") from None
        raise WeightsError(f"cannot fetch {location}: {_reason(error, wanted)}") from None


def _unreachable(wanted: HubFile, endpoint: str | None) -> Exception | None:
    """Why the Hub does not answer at all, after one request; the library itself would try six times, and tell each.

    What the Hub does answer, if only that it is busy, is left to the library.
    """
    from huggingface_hub import errors, get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(wanted.repository, wanted.file, revision=wanted.revision, endpoint=endpoint)
    try:
        get_hf_file_metadata(url, endpoint=endpoint)
    except (errors.HfHubHTTPError, errors.OfflineModeIsEnabled):
        return None
    except Exception as error:  # of an HTTP client that differs between the library's versions
        return error
    return None


def _reason(error: Exception, wanted: HubFile) -> str:
    """What went wrong, and what to do about it."""
    from huggingface_hub import errors

    cause = error.__cause__ if isinstance(error, errors.LocalEntryNotFoundError) else None
    match cause or error:
        case errors.OfflineModeIsEnabled():
            return "it is not in the cache, and HF_HUB_OFFLINE forbids requests; fetch it once with a network"
        case errors.GatedRepoError():
            return f"{wanted.repository} wants its terms accepted first; do so on its page, and set HF_TOKEN"
        case errors.RepositoryNotFoundError():
            return f"there is no repository {wanted.repository}, or it is private; correct it, or set HF_TOKEN"
        case errors.RevisionNotFoundError():
            return f"{wanted.repository} has no revision {wanted.revision!r}; name a commit, tag or branch of it"
        case errors.EntryNotFoundError() if cause is None or isinstance(cause, errors.HfHubHTTPError):
            return f"{wanted.repository} has no file {wanted.file} at {wanted.revision}; look at its list of files"
        case errors.HFValidationError() as wrong:
            return f"{str(wrong).splitlines()[0]} Correct the address"
        case other:
            said = (str(other) or type(other).__name__).strip().splitlines()[0]
            return f"{said.rstrip('.')}. Run again when the Hub can be reached, or name a mirror in HF_ENDPOINT"
