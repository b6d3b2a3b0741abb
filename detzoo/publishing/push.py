"""Upload a run to the Hugging Face Hub, through ``huggingface_hub``, without replacing what others changed."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from detzoo.errors import DetzooError
from detzoo.publishing.card import CardFacts, card
from detzoo.runtime.atomic_files import write_text
from detzoo.runtime.foreign_files import is_ordinary
from detzoo.runtime.json_text import load_json
from detzoo.weights.hub_run import MARK, MODEL, PREFIX, mark, repository_of

if TYPE_CHECKING:
    from huggingface_hub import HfApi

RECORD: Final = "pushed.json"
"""Beside the checkpoint: the last commit that was pushed from there, by repository."""
CARD, RESULTS, IMAGE = "README.md", "results.json", "detections.jpg"


class PushError(DetzooError):
    """A run that cannot be uploaded."""


@dataclass(frozen=True)
class Push:
    """An upload that was prepared and not begun.

    Args:
        repository: ``owner/name``.
        files: content by name in the repository.
        record: where pushed commits are noted.
        licence: None if none was given.
    """

    repository: str
    files: dict[str, bytes]
    record: Path
    licence: str | None

    def lines(self) -> list[str]:
        """Every file with its size and hash."""
        return [
            f"{name}  {len(content):,} bytes  sha256 {hashlib.sha256(content).hexdigest()}"
            for name, content in self.files.items()
        ]


def prepare_push(
    run: Path, target: str, *, licence: str | None = None, results: Path | None = None, image: Path | None = None
) -> Push:
    """Make everything that is uploaded; no request is sent.

    Args:
        run: a run folder or a checkpoint; of it the weights go, not the state of its optimiser.
        target: ``hf:owner/name``.
        licence: as the Hub writes it, ``apache-2.0``.
        results: a results.json; by default the one in the run's folder, where there is one.
        image: on which detections are drawn for the card; uploaded so, which makes it public with the repository.

    Raises:
        PushError: the target is no repository.
        WeightsError: there is no checkpoint.
        DataError: the results or the image cannot be read.
    """
    place = repository_of(target)
    if place is None or "@" in target:
        raise PushError(f"cannot push to {target!r}: write {PREFIX}OWNER/NAME, a model repository of the Hub")
    from detzoo.comparison.weights_facts import weights_facts, weights_words
    from detzoo.weights.checkpoint import Checkpoint, checkpoint_of, load_checkpoint, save_checkpoint, versions

    file = checkpoint_of(run)
    whole = load_checkpoint(file, parts=("model", "ema"))
    facts = weights_facts(run)
    named = without_folders(whole.recipe)
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / MODEL
        save_checkpoint(written, Checkpoint(named, whole.classes, whole.ema or whole.model, run=run_of(file)))
        model = written.read_bytes()
    digest = hashlib.sha256(model).hexdigest()
    found = results if results is not None else file.with_name(RESULTS)
    measured = _results(found) if results is not None or is_ordinary(found) else None
    drawn = None if image is None else _detections(run, image)
    described = CardFacts(
        repository=place[0],
        recipe=named["name"],
        architecture=_type(whole.recipe["values"]["architecture"]),
        classes=whole.classes,
        trained_on=facts["trained_on"],
        weights=weights_words(facts),
        results=measured,
        sha256=digest,
        versions=versions(),
        licence=licence,
        image=None if drawn is None else IMAGE,
    )
    files = {MODEL: model, MARK: _json(mark(digest)), CARD: card(described).encode()}
    if measured is not None:
        files[RESULTS] = _json(measured)
    if drawn is not None:
        files[IMAGE] = drawn
    return Push(place[0], files, file.with_name(RECORD), licence)


def push(prepared: Push, *, onto: str | None = None, public: bool = False) -> str:
    """Upload in one commit.

    Args:
        prepared: by ``prepare_push``.
        onto: the commit on which files may be replaced; by default the last one that was pushed from here.
        public: a repository that is made may be seen by all; one that exists stays as it is.

    Returns:
        the commit.

    Raises:
        PushError: the repository holds files of these names that were not pushed from here, it changed meanwhile, the
            Hub does not allow it or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, library_name="detzoo")
    pushed = load_json(prepared.record, error=PushError) if is_ordinary(prepared.record) else {}
    try:
        head = _head(api, prepared, onto or pushed.get(prepared.repository), public=public)
        done = api.create_commit(
            prepared.repository,
            [CommitOperationAdd(name, content) for name, content in prepared.files.items()],
            commit_message="Pushed by detzoo",
            parent_commit=head,  # the Hub rejects it if somebody was faster
        )
    except PushError:
        raise
    except Exception as error:  # its HTTP client raises kinds of its own, others in each of its versions
        raise PushError(f"cannot push to {PREFIX}{prepared.repository}: {_reason(error)}") from None
    write_text(prepared.record, json.dumps(pushed | {prepared.repository: done.oid}, indent=1) + "\n")
    return str(done.oid)


def _head(api: HfApi, prepared: Push, known: str | None, *, public: bool) -> str | None:
    """The commit to push onto, of a repository that is made where there is none."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = api.model_info(prepared.repository)
    except RepositoryNotFoundError:
        api.create_repo(prepared.repository, private=not public)
        info = api.model_info(prepared.repository)
    there = sorted(prepared.files.keys() & {one.rfilename for one in info.siblings or ()})
    if there and info.sha != known:
        raise PushError(
            f"{PREFIX}{prepared.repository} was changed by somebody else: it is at commit {info.sha}, and what was "
            f"pushed from here last is {known or 'nothing'}. {', '.join(there)} would be replaced. Look at it, then "
            f"choose another name, or replace them with --onto {info.sha}"
        )
    return info.sha


def _reason(error: Exception) -> str:
    from huggingface_hub import errors

    if type(error) is RuntimeError and isinstance(error.__cause__, Exception):  # "Error while uploading", and no reason
        error = error.__cause__
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE forbids requests; unset it"
    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
    if status in (401, 403):
        return "the Hub does not allow it; log in (`hf auth login`), or set HF_TOKEN to a token that may write there"
    if status == 412:
        return "somebody else changed the repository meanwhile; look at it, and run again"
    said = (str(error) or type(error).__name__).strip().splitlines()[0]
    return f"{said.rstrip('.')}. Run again when the Hub can be reached, or name a mirror in HF_ENDPOINT"


def without_folders(value: Any) -> Any:
    """A recipe whose files are names: the folders of whoever trained it are nobody's business."""
    if isinstance(value, dict):
        return {name: without_folders(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(one) for one in value]
    if isinstance(value, str) and (value.startswith(("/", "~", "./", "../")) or is_ordinary(Path(value))):
        return Path(value).name
    return value


def run_of(file: Path) -> dict[str, Any]:
    """Settings and state of the run, so that an evaluation knows what the weights have seen; nothing where unknown."""
    from detzoo.weights.checkpoint import LAST, load_checkpoint

    own, last = load_checkpoint(file, parts=()).run, file.with_name(LAST)
    whole = load_checkpoint(last, parts=()).run if is_ordinary(last) else own
    settings = {"settings": whole["settings"]} if "settings" in whole else {}
    return settings | {name: own[name] for name in ("state", "selection") if name in own}


def _results(path: Path) -> dict[str, Any]:
    """The numbers of an evaluation, without what names the machine."""
    found = load_json(path, error=PushError)
    if not isinstance(found, dict) or any(key not in found for key in ("metrics", "data", "counts", "protocol")):
        raise PushError(f"{path}: not the results.json of an evaluation; write one with `detzoo eval`")
    return {key: value for key, value in found.items() if key not in ("device", "broken_images")}


def _detections(run: Path, image: Path) -> bytes:
    from detzoo.builder import load
    from detzoo.runtime.drawing import encode_image

    found = load(run).predict([image], score_threshold=0.3)[0]
    return encode_image(found.draw(), ".jpg")


def _type(architecture: Any) -> str:
    return str(architecture["type"]) if isinstance(architecture, dict) else str(architecture)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()
