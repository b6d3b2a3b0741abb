"""What an evaluation of proposals sets side by side, methods and files; and what it holds them against."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detzoo.data.dataset import Dataset
from detzoo.errors import DataError, DetzooError
from detzoo.prediction.proposal_file import ProposalFile, ProposalsError, image_key
from detzoo.proposals.method import Method, find_method, method_of_file
from detzoo.proposals.recall import objects_of
from detzoo.runtime.foreign_files import is_ordinary
from detzoo.runtime.progress import progress_bar
from detzoo.runtime.whole_numbers import whole_number


@dataclass(frozen=True)
class Source:
    """Where proposals come from.

    Args:
        name: in tables; unique.
        method: that makes them, or made the file; None where it is not installed.
        file: that holds them, where they need not be made.
        recorded: method and parameters, as a file says them.
    """

    name: str
    method: Method | None
    file: Path | None
    recorded: tuple[str, dict[str, Any]]

    @property
    def folder(self) -> str:
        """The same for the same method and parameters, or the same file; and for nothing else."""
        told = json.dumps([*self.recorded, str(self.file)], sort_keys=True)
        short = re.sub(r"[^\w.+-]", "_", self.recorded[0] if self.file is None else self.file.stem)
        return f"{short}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class Truth:
    """The images of a dataset without their pixels.

    Args:
        keys: of each image that can be read.
        paths: of the same.
        objects: float64 [M,4] xyxy px of the same.
        broken: why the others cannot.
    """

    keys: list[bytes]
    paths: list[str]
    objects: list[NDArray[np.float64]]
    broken: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Objects of all images."""
        return sum(map(len, self.objects))


def numbers_of(text: str) -> tuple[int, ...]:
    """``10,100,1000`` -> (10, 100, 1000).

    Raises:
        DetzooError: something else is written.
    """
    numbers = {whole_number(part) or 0 for part in text.split(",")}
    if 0 in numbers:
        raise DetzooError(f"--counts {text}: write whole numbers of 1 or more, such as 10,100,1000")
    return tuple(sorted(numbers))


def is_file(target: str) -> bool:
    """Whether a word of the command line means a file of proposals rather than a method."""
    path = Path(target)
    return is_ordinary(path) or path.suffix == ".safetensors"


def find_sources(targets: Sequence[str]) -> list[Source]:
    """Methods and files by the words of a command line.

    Raises:
        DetzooError: none, or one that is neither.
    """
    if not targets:
        raise DetzooError("name at least one proposal method (`detzoo list --kind proposer`) or file of proposals")
    found: list[Source] = []
    for target in targets:
        if is_file(target):
            path = Path(target)
            file = ProposalFile(path)
            recorded = (file.method, file.parameters)
            source = Source(path.stem, method_of_file(*recorded), path, recorded)
        else:
            method = find_method(target)
            source = Source(target, method, None, (method.name, method.recorded))
        names = [other.name for other in found]
        numbered = (f"{source.name}-{i}" for i in itertools.count(2))
        unique = next(name for name in itertools.chain([source.name], numbered) if name not in names)
        found.append(Source(unique, source.method, source.file, source.recorded))
    return found


def read_truth(dataset: Dataset) -> Truth:
    """Keys and objects of every image.

    Raises:
        DataError: there is no object to be covered.
    """
    truth = Truth([], [], [])
    with progress_bar("reading the ground truth", len(dataset)) as advance:
        for position in range(len(dataset)):
            try:
                sample = dataset.sample(position, masks=False)
            except DataError as error:
                truth.broken.append(str(error))
            else:
                truth.keys.append(image_key(sample.image))
                truth.paths.append(sample.path)
                truth.objects.append(objects_of(sample))
            advance(1)
    if not truth.count:
        raise DataError(
            f"{dataset.name} {dataset.split}: {len(truth.keys)} images without a single box that counts (difficult "
            "and crowd boxes do not): recall has nothing to be a share of"
        )
    return truth


def check_holds(file: ProposalFile, truth: Truth, dataset: Dataset, data: str) -> None:
    """Reject the file of another dataset.

    Raises:
        ProposalsError: it lacks images.
    """
    lacking = [path for key, path in zip(truth.keys, truth.paths, strict=True) if key not in file]
    if lacking:
        raise ProposalsError(
            f"{file.path} holds no proposals for {len(lacking)} of the {len(truth.keys)} images of {dataset.name} "
            f"{dataset.split} (the first: {lacking[0]}): is it the file of another dataset? To add them, repeat "
            f"`detzoo proposals make` with --data {data} --split {dataset.split} --out {file.path} and its own "
            f"--method {file.method} and parameters"
        )
