"""``detzoo proposals make``: the regions of whole datasets, over all cores, into one file."""

from __future__ import annotations

import time
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from detzoo.data.dataset import Dataset
from detzoo.data.formats.opening import list_splits, open_dataset
from detzoo.errors import DataError
from detzoo.prediction.proposal_file import (
    ProposalFile,
    ProposalsError,
    Regions,
    check_made_by,
    image_key,
    write_proposals,
)
from detzoo.proposals.method import Method, find_method
from detzoo.proposals.store import ProposalStore
from detzoo.runtime.atomic_files import telling_disk
from detzoo.runtime.foreign_files import is_folder, is_ordinary, is_there
from detzoo.runtime.parallel import cores, in_parallel
from detzoo.runtime.progress import progress_bar

if TYPE_CHECKING:
    from detzoo.interfaces import Proposer

UNFINISHED: Final = ".unfinished"


@dataclass(frozen=True)
class Made:
    """What ``make_proposals`` did.

    Args:
        path: the file.
        images: of the data that have regions in it.
        reused: of these, images that the file held before.
        boxes: mean number of boxes per image, over the whole file.
        seconds: mean time of an image in the proposer, of those that were made; None where none was.
        workers: that worked at the same time.
        broken: path of each image that could not be read, and why.
    """

    path: Path
    images: int
    reused: int
    boxes: float
    seconds: float | None
    workers: int
    broken: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        time_ = "" if self.seconds is None else f", {self.seconds:.3g} s per image ({self.workers} at once)"
        size = self.path.stat().st_size / 2**20 if is_ordinary(self.path) else 0.0
        reused = f" ({self.reused} reused)" if self.reused else ""
        lines = [f"{self.path}: {self.images} images{reused}, {self.boxes:.0f} boxes per image{time_}, {size:.1f} MiB"]
        if self.broken:
            lines += [f"left out: {len(self.broken)} images that cannot be read:"]
            lines += [f"  {why}" for why in self.broken.values()]
        return "\n".join(lines)


def make_proposals(
    datasets: Sequence[Dataset],
    method: Method,
    out: Path,
    *,
    workers: int | None = None,
    most: int | None = None,
    progress: bool = True,
) -> Made:
    """Write the regions of all images into one file; images that it holds already are not made again.

    Interrupted or killed at any moment and called again, it goes on where it was and ends with the same bytes.

    Args:
        datasets: their images; one that several of them show is made once.
        method: what proposes.
        out: the file; one of the same method and parameters is extended.
        workers: processes; one for each core by default, 0 for this process alone.
        most: only the first so many images of each dataset.
        progress: show it on stderr.

    Raises:
        ProposalsError: ``out`` is no file of proposals, or holds those of another method or of other parameters.
    """
    workers = cores() if workers is None else workers
    _existing(out, method)
    method.build()  # what its constructor rejects is reported here, once, and not by every worker
    tasks = list(_tasks(datasets, most))
    unfinished = out.with_name(out.name + UNFINISHED)
    kept = f"what was made is kept in {unfinished}"
    try:
        with telling_disk(out, "nothing was made"):
            out.parent.mkdir(parents=True, exist_ok=True)
            store = ProposalStore(unfinished, method=method.name, parameters=method.recorded)
    except OSError as error:
        raise ProposalsError(f"{out}: cannot be written: {error.strerror}") from None
    with telling_disk(out, kept), store:
        known = _existing(out, method)  # nobody else writes it from here on
        job = _Job(datasets, method, frozenset(known) | frozenset(store))
        seen = _Seen()
        _run(job, tasks, store, seen, workers, progress)
        if any(key not in known for key in store) or not is_ordinary(out):
            joined = ChainMap(cast("Any", known), cast("Any", store))  # it is only read
            write_proposals(out, joined, method=method.name, parameters=method.recorded)
        store.remove()
        return _made(out, known, store, seen, workers)


@dataclass
class _Seen:
    """What came back: keys of the images, those that were there before, those that could not be read."""

    keys: set[bytes] = field(default_factory=set)
    broken: dict[str, str] = field(default_factory=dict)


class _Result(NamedTuple):
    path: str
    key: bytes | None
    regions: Regions | None
    seconds: float
    why: str | None


class _Job:
    """An image's regions; travels to the workers, where the proposer is built."""

    def __init__(self, datasets: Sequence[Dataset], method: Method, known: frozenset[bytes]) -> None:
        self.datasets, self.method, self.known = datasets, method, known

    @cached_property
    def proposer(self) -> Proposer:
        return self.method.build()

    def __call__(self, task: tuple[int, int]) -> _Result:
        data, position = self.datasets[task[0]], task[1]
        path = data.paths_of([position])[0]
        try:
            image = data.sample(position, masks=False).image
        except DataError as error:
            return _Result(path, None, None, 0.0, str(error))
        key = image_key(image)
        if key in self.known:
            return _Result(path, key, None, 0.0, None)
        proposer, start = self.proposer, time.perf_counter()
        try:
            boxes, scores = proposer(image)
        except ProposalsError as error:
            raise ProposalsError(f"{path}: {error}") from None
        seconds = time.perf_counter() - start
        return _Result(path, key, _checked(self.method, path, boxes, scores), seconds, None)


def _checked(method: Method, path: str, boxes: NDArray[Any], scores: NDArray[Any]) -> Regions:
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1]:
        raise ProposalsError(
            f"{path}: {method.name} gave boxes {list(boxes.shape)} and scores {list(scores.shape)}; "
            "a proposer returns [P,4] and [P]"
        )
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise ProposalsError(f"{path}: {method.name} gave NaN or infinite coordinates or scores")
    return boxes[: method.kept].astype(np.float32), scores[: method.kept].astype(np.float32)


def _existing(out: Path, method: Method) -> Mapping[bytes, Regions]:
    """Images that the file holds already; none where there is no file yet."""
    if is_folder(out):
        raise ProposalsError(f"{out} is a folder; --out takes the file to write, such as {out / 'regions.safetensors'}")
    if not is_there(out):
        return {}
    file = ProposalFile(out)
    check_made_by(
        out,
        (file.method, file.parameters),
        (method.name, method.recorded),
        "Give --method and --set as in the file to add images to it, or choose another --out (nothing was changed).",
    )
    return file


def _tasks(datasets: Sequence[Dataset], most: int | None) -> Iterator[tuple[int, int]]:
    """(dataset, position) of each image; a file that several datasets name comes once."""
    seen: set[str] = set()
    for number, data in enumerate(datasets):
        for position in range(len(data) if most is None else min(most, len(data))):
            path = data.paths_of([position])[0] if data.on_disk else f"{number}/{position}"
            if path not in seen:
                seen.add(path)
                yield number, position


def _run(
    job: _Job, tasks: Sequence[tuple[int, int]], store: ProposalStore, seen: _Seen, workers: int, progress: bool
) -> None:
    """Do the tasks, each result kept as it comes."""
    with (
        closing(in_parallel(job, tasks, min(workers, len(tasks)))) as results,
        progress_bar(f"proposing ({job.method.name})", len(tasks), shown=progress) as advance,
    ):
        for result in results:
            _keep(result, store, seen)
            advance(1)


def _keep(result: _Result, store: ProposalStore, seen: _Seen) -> None:
    if result.why is not None:
        seen.broken[result.path] = result.why
        return
    assert result.key is not None
    seen.keys.add(result.key)
    if result.regions is not None and result.key not in store:
        store.add(result.key, *result.regions, result.seconds)


def _made(out: Path, known: Mapping[bytes, Regions], store: ProposalStore, seen: _Seen, workers: int) -> Made:
    new = {key for key in store if key not in known}
    boxes = sum(len(store[key][0]) for key in new)
    if isinstance(known, ProposalFile):
        boxes += known.boxes
    seconds = store.seconds
    return Made(
        path=out,
        images=len(seen.keys),
        reused=sum(key in known for key in seen.keys),
        boxes=boxes / max(1, len(new) + len(known)),
        seconds=sum(seconds) / len(seconds) if seconds else None,
        workers=max(1, workers),
        broken=dict(sorted(seen.broken.items())),
    )


def make_target(
    method: str,
    data: str,
    out: Path,
    splits: Sequence[str],
    overrides: Sequence[str],
    workers: int | None,
    max_boxes: int | None,
    max_images: int | None,
) -> Made:
    """``make_proposals`` from the words of a command line; no split means all of them."""
    chosen = find_method(method, overrides, max_boxes)
    known = list_splits(data)
    parts = [[split] if split in known else split.split("+") for split in splits or known]
    names = dict.fromkeys(name.strip() for part in parts for name in part)
    datasets = [open_dataset(data, name) for name in names]
    return make_proposals(datasets, chosen, out, workers=workers, most=max_images)
