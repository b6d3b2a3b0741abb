"""A checkpoint that somebody altered: a resume is refused with one message, and the file stays as it is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

from detzoo.errors import DetzooError, WeightsError
from detzoo.training import stage_run, train
from detzoo.weights.checkpoint import LAST, Checkpoint, load_checkpoint, save_checkpoint
from tests.training.training_toy import ToyDataset, toy


class Killed(BaseException):
    """In place of a SIGKILL."""


def start(out: Path, **options: Any) -> None:
    train(toy(epochs=2), ToyDataset(), out, device="cpu", workers=0, progress=False, checkpoint_steps=1, **options)


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "unfinished"

    def save(path: Path, checkpoint: Checkpoint) -> None:
        save_checkpoint(path, checkpoint)
        if checkpoint.run["state"]["step"]:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage_run, "save_checkpoint", save)
        with pytest.raises(Killed):
            start(out)
    return out


def state(**change: Any) -> Callable[[Checkpoint], Checkpoint]:
    return lambda saved: replace(saved, run={**saved.run, "state": {**saved.run["state"], **change}})


def part(name: str, change: Callable[[torch.Tensor], torch.Tensor] | None) -> Callable[[Checkpoint], Checkpoint]:
    """Every tensor of a part changed; None: all are gone."""

    def changed(saved: Checkpoint) -> Checkpoint:
        found: Any = {} if change is None else {key: change(value) for key, value in getattr(saved, name).items()}
        return replace(saved, **{name: found})

    return changed


ALTERED: Final[dict[str, Callable[[Checkpoint], Checkpoint]]] = {
    "a stage that is none": state(stage=1),
    "a huge stage": state(stage=10**400),
    "a huge epoch": state(epoch=10**400),
    "no weights": part("model", None),
    "weights of another shape": part("model", lambda value: value.flatten()[:1]),
    "one more weight": lambda saved: replace(saved, model={**saved.model, "": torch.zeros(1)}),
    "no average": part("ema", None),
    "an average of another shape": part("ema", lambda value: value.flatten()[:1].expand(2, 2)),
    "no generators": part("rng", None),
    "cut generators": part("rng", lambda value: value.flatten()[:5]),
    "generators of another kind": part("rng", lambda value: value.float()),
    "no optimiser state": part("optim", None),
    "complex optimiser state": part("optim", lambda value: value.to(torch.complex64)),
    "whole optimiser state": part("optim", lambda value: value.to(torch.int32)),
    "optimiser state of another shape": part("optim", lambda value: value.expand(2, *value.shape).contiguous()),
}


@pytest.mark.parametrize("case", ALTERED)
def test_it_is_refused(unfinished: Path, case: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(unfinished, out)
    save_checkpoint(out / LAST, ALTERED[case](load_checkpoint(out / LAST)))
    altered = (out / LAST).read_bytes()
    with pytest.raises(DetzooError, match=r"last\.safetensors.*altered"):
        start(out, resume=True)
    assert (out / LAST).read_bytes() == altered


def test_a_deleted_tensor_of_the_optimiser_is_missed(unfinished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(unfinished, out)
    with safe_open(out / LAST, framework="pt") as file:
        metadata, tensors = file.metadata(), {key: file.get_tensor(key) for key in list(file.keys())}
    del tensors[next(key for key in tensors if key.startswith("optim."))]
    (out / LAST).write_bytes(save(tensors, metadata=metadata))
    with pytest.raises(WeightsError, match=r"last\.safetensors.*altered: .* tensors of the optimiser"):
        start(out, resume=True)


def test_as_it_is_it_goes_on(unfinished: Path, tmp_path: Path) -> None:
    shutil.copytree(unfinished, tmp_path / "run")
    start(tmp_path / "run", resume=True)
    assert load_checkpoint(tmp_path / "run" / LAST).run["state"]["complete"]
