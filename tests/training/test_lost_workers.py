"""A training whose loading process was killed says how to go on, and does."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from detzoo.data.loading.worker_failures import WorkerError
from detzoo.errors import DataError
from detzoo.training import train
from detzoo.types import Sample
from tests.training.training_toy import ToyDataset, toy


class Deadly(ToyDataset):
    """The process that loads one of its images is killed; an unreadable one would be replaced."""

    deadly = True

    def sample(self, position: int, *, masks: bool = True) -> Sample:
        if self.deadly and position == 7 and multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().sample(position, masks=masks)


def test_a_killed_loading_process_names_resume_and_the_run_goes_on(tmp_path: Path) -> None:
    data, out = Deadly(), tmp_path / "run"
    with pytest.raises(WorkerError, match="Killed") as caught:
        train(toy(), data, out, device="cpu", workers=1, progress=False, epochs=1)
    assert "--resume" in str(caught.value)
    assert str(out) in str(caught.value)
    data.deadly = False
    assert train(toy(), data, out, device="cpu", workers=0, progress=False, epochs=1, resume=True).epochs == 1


@pytest.mark.parametrize("workers", [0, 1])
def test_data_without_a_readable_image_is_one_message(workers: int, tmp_path: Path) -> None:
    data = ToyDataset(8, broken=range(8))
    with pytest.raises(DataError) as caught:
        train(toy(), data, tmp_path / "run", device="cpu", workers=workers, progress=False, epochs=1)
    assert str(caught.value).startswith("8 images in a row cannot be read")
    assert "Traceback" not in str(caught.value)
