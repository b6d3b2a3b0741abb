"""A detector and a dataset small enough to train hundreds of steps in a second, and a script around them.

The detector looks at a 4 x 4 grid of cells of 8 px; a cell whose centre lies in a box is positive.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from detzoo.components.normalisers import Positives
from detzoo.components.postprocess.top_k import TopK
from detzoo.data.dataset import Dataset
from detzoo.data.formats.index import Index, IndexBuilder
from detzoo.errors import DataError
from detzoo.interfaces import Detector, Draw, GradientStage, Stage, Transform
from detzoo.prediction.input_spec import InputSpec
from detzoo.recipes.recipe import Recipe
from detzoo.training.plan import Optimizer, Schedule, TrainPlan
from detzoo.types import BACKGROUND, Assignment, Candidates, ImageBatch, Predictions, Sample, Targets

SIDE, GRID = 32, 4
CLASSES = ("dark", "light")


class ToyDataset(Dataset):
    """One square per image; every fifth image is empty."""

    on_disk = False
    has_masks = False

    def __init__(self, count: int = 24, split: str = "train", broken: Sequence[int] = ()) -> None:
        self.name, self.split, self.classes, self.category_ids = "toy", split, CLASSES, (1, 2)
        self.count, self.broken = count, tuple(broken)

    def __len__(self) -> int:
        return self.count

    @property
    def image_ids(self) -> list[int]:
        return list(range(1, self.count + 1))

    @property
    def paths(self) -> list[str]:
        return [f"toy-{i:03d}.png" for i in range(self.count)]

    def paths_of(self, positions: Sequence[int]) -> list[str]:
        return [f"toy-{i:03d}.png" for i in positions]

    def sample(self, position: int, *, masks: bool = True) -> Sample:
        if position in self.broken:
            raise DataError(f"toy-{position:03d}.png: truncated")
        return self._drawn(position)

    def _drawn(self, position: int) -> Sample:
        rng = np.random.default_rng([7, position, len(self.split)])
        image = rng.integers(90, 160, (SIDE, SIDE, 3)).astype(np.uint8)
        count = 0 if position % 5 == 4 else 1
        boxes, labels = np.zeros((count, 4), np.float32), rng.integers(0, 2, count)
        for row in range(count):
            x, y = (int(v) for v in rng.integers(0, SIDE - 12, 2))
            boxes[row] = (x, y, x + 12, y + 12)
            image[y : y + 12, x : x + 12] = 20 if labels[row] == 0 else 240
        no = np.zeros(count, np.bool_)
        return Sample(image, boxes, labels.astype(np.int64), no, no, position + 1, self.paths[position])

    def annotations(self) -> Index:
        builder = IndexBuilder()
        for position in range(self.count):
            sample = self._drawn(position)
            builder.image(sample.path, (SIDE, SIDE), position + 1)
            for box, label in zip(sample.boxes.tolist(), sample.labels, strict=True):
                builder.box(tuple(box), int(label))
        return builder.build()

    def subset(self, positions: Sequence[int]) -> Dataset:
        raise NotImplementedError


class Noise(Transform):
    """Brightness drawn anew for each sample."""

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        shifted = np.clip(sample.image.astype(np.int64) + rng.integers(-20, 20), 0, 255).astype(np.uint8)
        return dataclasses.replace(sample, image=shifted)


class ToyDetector(Detector):
    """Three convolutions; with ``lively`` a batch norm and dropout, whose state and randomness a resume must keep."""

    def __init__(self, *, lively: bool = True, per_image: bool = False) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 8, 4, 4),
            nn.BatchNorm2d(8) if lively else nn.GroupNorm(2, 8),
            nn.ReLU(),
            nn.Dropout(0.2 if lively else 0.0),
        )
        self.head = nn.Conv2d(8, len(CLASSES) + 4, 2, 2)
        self.normaliser = Positives(scope="image" if per_image else "batch")
        self.classes = CLASSES
        self.input = InputSpec(size=(SIDE, SIDE))
        self.recipe = Recipe("toy", {"architecture": "one_stage", "lively": lively, "lr": 0.05})
        self.postprocess = TopK()
        self.poison: int | None = None
        self.calls = 0

    def network(self, batch: ImageBatch, targets: Targets | None = None) -> tuple[Candidates, Predictions]:
        logits, deltas = self.maps(batch)
        boxes = (deltas.detach().clamp(0, 1) * SIDE).float()
        valid = (boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1])
        return Candidates(boxes, valid), Predictions(logits, "sigmoid", deltas[:, :, None])

    def maps(self, batch: ImageBatch) -> tuple[Tensor, Tensor]:
        maps = self.head(self.backbone(batch.pixels)).flatten(2).transpose(1, 2)
        return maps[..., : len(CLASSES)], maps[..., len(CLASSES) :]

    def losses(self, batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        logits, deltas = self.maps(batch)
        centres = (torch.arange(GRID, device=logits.device) + 0.5) * SIDE / GRID
        y, x = (c.flatten() for c in torch.meshgrid(centres, centres, indexing="ij"))
        box = targets.boxes[:, None]
        inside = (x[:, None] > box[..., 0]) & (x[:, None] < box[..., 2])
        inside &= (y[:, None] > box[..., 1]) & (y[:, None] < box[..., 3]) & targets.usable[:, None]
        found, which = inside.max(2)
        index = torch.where(found, which, BACKGROUND)
        divisor = self.normaliser(Assignment(index))
        label = targets.labels.gather(1, which)
        wanted = nn.functional.one_hot(label, len(CLASSES)).float() * found[..., None]
        classes = nn.functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none").sum((1, 2))
        goal = targets.boxes.gather(1, which[..., None].expand(-1, -1, 4)) / SIDE
        boxes = ((deltas - goal).abs().sum(2) * found).sum(1)
        self.calls += 1
        if self.poison == self.calls:
            boxes = boxes * float("nan")
        return {"class": (classes / divisor).sum(), "box": (boxes / divisor).sum()}

    def stages(self) -> list[Stage]:
        return [GradientStage(name="train", losses=self.losses)]


def toy_plan(**changes: Any) -> TrainPlan:
    plan = TrainPlan(
        epochs=4,
        batch=8,
        optimizer=Optimizer(lr=0.05, weight_decay=1e-4, bias_lr_multiplier=2.0),
        schedule=Schedule(name="step", milestones=(0.5,), warmup_steps=2),
        transforms=[Noise()],
        clip_norm=5.0,
        ema=0.9,
        seed=3,
    )
    return dataclasses.replace(plan, **changes)


def toy(seed: int = 0, **changes: Any) -> ToyDetector:
    """A seeded toy with a plan; ``lively`` and ``per_image`` go to the detector, the rest to the plan."""
    torch.manual_seed(seed)
    options = {name: changes.pop(name) for name in ("lively", "per_image") if name in changes}
    detector = ToyDetector(**options)
    detector.train_plan = toy_plan(**changes)
    return detector


def die_at(point: str, count: int) -> None:
    """Kill this process at the count-th file it replaces: with the new file ``half`` written, ``before`` or ``after``
    the rename.
    """
    import signal

    from detzoo.runtime import atomic_files

    real, seen = atomic_files.replace_durably, [0]

    def replace_durably(temporary: Path, path: Path) -> None:
        seen[0] += 1
        if seen[0] == count and point == "half":
            with temporary.open("r+b") as file:
                file.truncate(temporary.stat().st_size // 2)
        if seen[0] == count and point != "after":
            os.kill(os.getpid(), signal.SIGKILL)
        real(temporary, path)
        if seen[0] == count:
            os.kill(os.getpid(), signal.SIGKILL)

    atomic_files.replace_durably = replace_durably


def train_alone(out: str, *, resume: bool = True, pause: float = 0.0) -> None:
    """One whole training, or what is left of it; each step may be made to last."""
    import time

    from detzoo.training import train

    detector = toy()
    real = detector.losses

    def losses(batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        time.sleep(pause)
        return real(batch, targets)

    detector.losses = losses  # type: ignore[method-assign]
    val = ToyDataset(6, "val")
    train(
        detector,
        ToyDataset(),
        out,
        val=val,
        device="cpu",
        resume=resume,
        workers=0,
        checkpoint_steps=2,
        progress=False,
    )


def in_child(work: Callable[[], None], kill_after: float | None = None) -> int:
    """Run ``work`` in a forked process, perhaps killed from outside; 0, or the negative signal that ended it."""
    import signal
    import time
    import traceback

    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), f"the training failed with status {status}"
    return status


def kill_in_writes(folder: Path) -> int:
    """One run, killed in the 2nd to 6th file that it replaces, at changing points, until it is through."""
    killed = 0
    while True:
        point = ("half", "before", "after")[killed % 3]

        def work(point: str = point, count: int = 2 + killed % 5) -> None:
            die_at(point, count)
            train_alone(str(folder))

        if in_child(work) == 0:
            return killed
        killed += 1
        assert killed < 60, "no progress"


def kill_anywhere(folder: Path, seed: int) -> int:
    """One run, killed after random times until it is through; they grow, so that a busy machine gets there too."""
    rng, killed = np.random.default_rng(seed), 0
    while True:
        patience = float(rng.uniform(0.1, 0.8)) * (1 + killed / 4)
        if in_child(lambda: train_alone(str(folder), pause=0.06), kill_after=patience) == 0:
            return killed
        killed += 1
        assert killed < 60, "no progress"


def main(what: str, out: str, argument: str = "0") -> None:
    """What tests need a process of its own for."""
    import torch._dynamo  # noqa: F401  # optimisers import it

    import detzoo.training.trainer  # noqa: F401
    from detzoo.evaluation import evaluate

    evaluate(toy(), ToyDataset(1, "val"), progress=False)  # so that children of a fork find everything imported
    gc.freeze()  # and need not copy it
    folder = Path(out)
    if what == "writes":
        in_child(lambda: train_alone(str(folder / "whole"), resume=False))
        print(kill_in_writes(folder / "killed"))
    elif what == "anywhere":
        in_child(lambda: train_alone(str(folder / "whole"), resume=False))
        print(kill_anywhere(folder / "killed", int(argument)))
    elif what == "paused":
        train_alone(out, pause=float(argument))
    elif what == "shared":
        from detzoo.training import train

        detector = toy(lively=False, epochs=2, ema=None, per_image=argument == "image")
        train(detector, ToyDataset(), out, device="cpu", workers=0, progress=False)


if __name__ == "__main__":
    main(*sys.argv[1:])


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's log."""
    return [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
