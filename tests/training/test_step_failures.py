"""A batch norm that sees one value, and memory that runs out: one message with what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detzoo.errors import MachineError, TrainingError
from detzoo.training import train
from detzoo.types import ImageBatch, Targets
from tests.training.training_toy import ToyDataset, ToyDetector, toy


def with_a_map_of_one(detector: ToyDetector) -> ToyDetector:
    """The toy, with a batch norm on a 1x1 map in addition."""
    last = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(8))
    detector.add_module("last", last)
    real = detector.losses

    def losses(batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        return real(batch, targets) | {"last": last(detector.backbone(batch.pixels)).square().mean()}

    detector.losses = losses  # type: ignore[method-assign]
    return detector


@pytest.mark.parametrize(
    ("images", "options", "words"),
    [
        (8, {"batch": 1}, "give --batch 2 or more"),
        (1, {}, "there are only 1 images; take 2 or more"),
        (8, {"batch": 4, "accumulate": 4}, "give --batch 8 or more"),
    ],
)
def test_one_image_in_a_step_names_the_norm_and_the_remedy(
    images: int, options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError) as caught:
        train(
            with_a_map_of_one(toy(epochs=1)),
            ToyDataset(images),
            tmp_path / "run",
            device="cpu",
            workers=0,
            progress=False,
            **options,
        )
    assert all(part in str(caught.value) for part in ("batch norm last.1", "1x1", words, "norm=frozen"))
    assert "Expected more than" not in str(caught.value)


def test_two_images_in_a_step_are_enough(tmp_path: Path) -> None:
    detector = with_a_map_of_one(toy(epochs=1))
    train(detector, ToyDataset(4), tmp_path / "run", device="cpu", workers=0, progress=False, batch=2)
    assert (tmp_path / "run" / "last.safetensors").is_file()


def test_frozen_norms_take_one_image(tmp_path: Path) -> None:
    detector = toy(epochs=1, lively=False)
    train(detector, ToyDataset(2), tmp_path / "run", device="cpu", workers=0, progress=False, batch=1)
    assert (tmp_path / "run" / "last.safetensors").is_file()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_memory_that_runs_out_names_batch_and_resume(error: Exception, tmp_path: Path) -> None:
    detector = toy(epochs=1)

    def losses(batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        raise error

    detector.losses = losses  # type: ignore[method-assign]
    with pytest.raises(MachineError) as caught:
        train(detector, ToyDataset(4), tmp_path / "run", device="cpu", workers=0, progress=False)
    assert all(word in str(caught.value) for word in ("memory", "--batch", "--accumulate", "--resume"))


def test_a_bug_keeps_its_own_error(tmp_path: Path) -> None:
    detector = toy(epochs=1)

    def losses(batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        raise ValueError("shapes differ")

    detector.losses = losses  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="shapes differ"):
        train(detector, ToyDataset(4), tmp_path / "run", device="cpu", workers=0, progress=False)
