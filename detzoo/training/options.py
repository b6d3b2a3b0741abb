"""Options of a training run in addition to the recipe: one dataclass for Python, commands, sweeps and comparisons.

The help of an option on the command line is the first sentence of its entry below; see ``cli.options``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Self, get_args

from detzoo.errors import DetzooError
from detzoo.runtime.parallel import cores
from detzoo.runtime.switches import Precision
from detzoo.schema.describing import unknown

MOST_WORKERS: Final = 8
LENGTHS: Final = ("epochs", "steps", "minutes")
"""Options of which one at most says how long a training is."""
KEPT: Final = ("steps", "epochs")
"""What a training on a part of the images may keep of one on all."""
TRACKERS: Final = ("tensorboard", "mlflow", "wandb", "trackio")
LARGEST_SEED: Final = 2**63 - 1
"""Of what torch takes, with room for the processes' own."""


def at_least(minimum: int, at_most: int | None = None) -> Any:
    """A field that is None or a whole number from ``minimum`` on, to ``at_most``."""
    return field(default=None, metadata={"min": minimum} | ({} if at_most is None else {"max": at_most}))


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How one run is trained, where it differs from the recipe's plan.

    Args:
        resume: Continue from the last checkpoint in the run folder. Starts from the beginning if there is none yet.
        epochs: Replaces the recipe's number of epochs. Milestones of the schedule are scaled with it.
        steps: Length of the training in optimiser steps, instead of epochs.
        minutes: Length of the training in minutes, instead of epochs. Some steps are timed first, and the number that
            fills the time is planned and recorded.
        batch: Images per optimiser step, over all processes and parts. The learning rate is scaled in proportion.
        accumulate: Number of parts into which each process splits its share of a step (gradient accumulation).
        seed: Replaces the recipe's random seed.
        precision: fp32, bf16 or fp16. Box coding, losses and non-maximum suppression stay in float32.
        device: cpu, cuda, cuda:1, mps (default: the fastest available).
        workers: Number of processes that load images. By default two fewer than processor cores, at most eight.
        worker_timeout: Seconds within which the loading processes must give a batch; then they count as stopped.
        compile: Run the network through torch.compile first.
        channels_last: NHWC (channels-last) memory layout. Faster convolutions on most GPUs.
        track: tensorboard, mlflow, wandb or trackio: follow the run there too; may be repeated. Losses, learning rates,
            validation metrics and drawn predictions; ``curve.csv`` and ``log.jsonl`` are always written.
        checkpoint_steps: Optimiser steps between checkpoints. They are written in addition to the one per epoch.
        checkpoint_seconds: Write a checkpoint when the last one is older than this.
        progress: Show progress on stderr.

    Raises:
        DetzooError: a value is not allowed.
    """

    resume: bool = False
    epochs: int | None = at_least(1)
    steps: int | None = at_least(1)
    minutes: float | None = field(default=None, metadata={"min": 0})
    batch: int | None = at_least(1)
    accumulate: int | None = at_least(1)
    seed: int | None = at_least(0, LARGEST_SEED)
    precision: Precision = "fp32"
    device: str | None = None
    workers: int | None = at_least(0, 1024)
    worker_timeout: int = field(default=600, metadata={"min": 1})
    compile: bool = False
    channels_last: bool = False
    track: tuple[str, ...] = ()
    checkpoint_steps: int | None = at_least(1)
    checkpoint_seconds: float = 300.0
    progress: bool = True

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise DetzooError(f"precision {self.precision!r} is unknown; allowed: {', '.join(get_args(Precision))}")
        if isinstance(self.track, str):
            raise DetzooError(f"track is the text {self.track!r}; give a tuple of names, as ({self.track!r},)")
        for name in self.track:
            if name not in TRACKERS:
                raise DetzooError(f"track: {unknown('tracker', name, TRACKERS)}")
        given = [f"--{name}" for name in LENGTHS if getattr(self, name) is not None]
        if len(given) > 1:
            raise DetzooError(f"give either {' or '.join(given)}, not both")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise DetzooError(f"minutes is {self.minutes:g}; it must be above 0, as 10 or 0.5")
        for one in dataclasses.fields(self):
            value = getattr(self, one.name)
            if "min" in one.metadata and value is not None and value < one.metadata["min"]:
                raise DetzooError(f"{one.name} is {value}; at least {one.metadata['min']} is needed")
            if "max" in one.metadata and value is not None and value > one.metadata["max"]:
                raise DetzooError(f"{one.name} is {value}; at most {one.metadata['max']} is allowed")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """The options of keyword arguments.

        Raises:
            TypeError: a name is not an option.
        """
        allowed = [one.name for one in dataclasses.fields(cls)]
        unknown = sorted(set(given) - set(allowed))
        if unknown:
            raise TypeError(f"unknown option {', '.join(unknown)}; allowed: {', '.join(allowed)}")
        # lists come from JSON and from the command line
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in given.items()
        }
        return cls(**plain)

    @property
    def loading_processes(self) -> int:
        """``workers``, or what suits this machine."""
        return max(1, min(MOST_WORKERS, cores() - 2)) if self.workers is None else self.workers


@dataclass(frozen=True, kw_only=True)
class TrainCommand(TrainOptions):
    """``detzoo train``: which detector is trained on which data, plus ``TrainOptions``.

    Args:
        target: A name from `detzoo list`, or a recipe file.
        data: data.yaml, a COCO json, a VOC or YOLO folder, or `shapes`.
        out: Output folder of the run; an existing run is never overwritten.
        overrides: Recipe override key=value; may be repeated.
        train_split: Split to train on. By default `train`, else the only split; `train+val` joins two.
        val_split: Split that selects the best epoch, or `none`. By default val, valid, validation or dev, else a tenth
            of the training images that is held out.
        weights: Initial weights: backbone, published, none, or a file.
        fraction: Part of the training images that is learned from, as 0.3. It is random, stratified by class, whole
            groups, and holds every smaller part of the same ``subset_seed``.
        subset_seed: Seed of the choice of --fraction, which is not that of the training.
        fraction_budget: What a training on a part keeps of one on all images, steps or epochs. With steps it sees its
            images more often, with epochs it is shorter.

    Raises:
        DetzooError: a value is not allowed.
    """

    target: str
    data: str
    out: Path
    overrides: tuple[str, ...] = ()
    train_split: str | None = None
    val_split: str | None = None
    weights: str = "backbone"
    fraction: float | None = None
    subset_seed: int = field(default=0, metadata={"min": 0})
    fraction_budget: Literal["steps", "epochs"] = "steps"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fraction is not None and not 0 < self.fraction <= 1:
            raise DetzooError(f"fraction is {self.fraction:g}; it must be above 0 and at most 1, as 0.3")
        if self.fraction_budget not in KEPT:
            raise DetzooError(f"fraction_budget {self.fraction_budget!r} is unknown; allowed: {', '.join(KEPT)}")

    @property
    def options(self) -> TrainOptions:
        """The part that ``detzoo.train`` takes."""
        return TrainOptions(**{one.name: getattr(self, one.name) for one in dataclasses.fields(TrainOptions)})

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in vars(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The command of ``as_dict``."""
        return cls.of({**values, "out": Path(values["out"])})
