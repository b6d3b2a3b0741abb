"""Trackers of experiments: TensorBoard, MLflow, W&B and trackio, each through accelerate's own class for it.

accelerate starts them, stores parameters and logs numbers; what it has no call for (images, how a run is continued or
ended) is the library's own API. A tracker that fails is told once and left alone: it never ends a training.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import re
import sys
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from accelerate.tracking import GeneralTracker, MLflowTracker, TensorBoardTracker, TrackioTracker, WandBTracker

from detzoo.errors import DataError, TrainingError
from detzoo.runtime.atomic_files import write_text
from detzoo.runtime.environment import short_name
from detzoo.runtime.foreign_files import is_ordinary
from detzoo.runtime.json_text import load_json

if TYPE_CHECKING:
    from torch import nn

    from detzoo.runtime.drawing import ImageArray

TRACKED: Final = "trackers.json"
"""What a resume needs to continue the same runs."""
BOARD: Final = "tensorboard"
PROJECT: Final = "detzoo"
"""Project (W&B, trackio) or experiment (MLflow) of all runs; MLFLOW_EXPERIMENT_NAME and WANDB_PROJECT replace it."""
_STEPS: Final = 10
"""Steps between two points of a tracker to which each of them costs some 30 ms."""
_LETTERS: Final = 200
"""Of the message of what failed: those of servers are long."""
_log = logging.getLogger("detzoo.training")


class _Tracker(ABC):
    """One tracker that has been started.

    Args:
        tracker: accelerate's.
        key: what continues the run.
    """

    name: ClassVar[str]
    every: ClassVar[int] = _STEPS
    """Steps between two points."""
    forgets: ClassVar[bool] = False
    """Whether the parameters must be given again where a run is continued."""

    def __init__(self, tracker: GeneralTracker, key: Mapping[str, str]) -> None:
        self.tracker, self.key = tracker, dict(key)
        self.tracker.start()

    def parameters(self, values: Mapping[str, Any]) -> None:
        """Numbers and texts by dotted names."""
        self.tracker.store_init_configuration(dict(values))

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Numbers of a step."""
        self.tracker.log(dict(values), step=step)

    @abstractmethod
    def images(self, images: Mapping[str, ImageArray], step: int) -> None:
        """Images, uint8 [H,W,3] RGB, by name."""

    def close(self, failure: type[BaseException] | None) -> None:
        """End the run."""
        self.tracker.finish()


class _TensorBoard(_Tracker):
    name = "tensorboard"
    every = 1  # a file on the disk

    def __init__(self, folder: Path, key: Mapping[str, str], step: int) -> None:
        # purge_step hides what a killed run wrote after its checkpoint
        super().__init__(TensorBoardTracker(BOARD, str(folder), purge_step=step + 1), key)

    def images(self, images: Mapping[str, ImageArray], step: int) -> None:
        for name, image in images.items():
            self.tracker.writer.add_image(name, image, step, dataformats="HWC")

    def histograms(self, module: nn.Module, step: int) -> None:
        """Values of the parameters."""
        for name, value in module.named_parameters():
            self.tracker.writer.add_histogram(name, value.detach().float().cpu(), step)
        self.tracker.writer.flush()


class _MLflow(_Tracker):
    name = "mlflow"

    def __init__(self, folder: Path, key: Mapping[str, str], step: int) -> None:
        own = key.get("run_id")
        tracker = MLflowTracker(PROJECT, run_id=own, run_name=None if own else short_name(str(folder.absolute())))
        super().__init__(tracker, key)
        self.key["run_id"] = tracker.tracker.info.run_id

    def parameters(self, values: Mapping[str, Any]) -> None:
        super().parameters({_mlflow_name(name): value for name, value in values.items()})

    def log(self, values: Mapping[str, float], step: int) -> None:
        super().log({_mlflow_name(name): value for name, value in values.items()}, step)

    def images(self, images: Mapping[str, ImageArray], step: int) -> None:
        import mlflow

        for name, image in images.items():
            mlflow.log_image(image, key=_mlflow_name(name), step=step)

    def close(self, failure: type[BaseException] | None) -> None:
        import mlflow

        stopped = failure is not None and issubclass(failure, KeyboardInterrupt)
        mlflow.end_run("KILLED" if stopped else "FINISHED" if failure is None else "FAILED")


class _Wandb(_Tracker):
    name = "wandb"

    def __init__(self, folder: Path, key: Mapping[str, str], step: int) -> None:
        import os

        key = {"id": uuid.uuid4().hex[:8], **key}
        project, name = os.environ.get("WANDB_PROJECT", PROJECT), short_name(str(folder.absolute()))
        super().__init__(WandBTracker(project, id=key["id"], name=name, resume="allow", dir=str(folder)), key)

    def images(self, images: Mapping[str, ImageArray], step: int) -> None:
        self.tracker.log_images({name: [image] for name, image in images.items()}, step=step)

    def close(self, failure: type[BaseException] | None) -> None:
        self.tracker.tracker.finish(exit_code=0 if failure is None else 1)


class _Trackio(_Tracker):
    name = "trackio"
    forgets = True

    def __init__(self, folder: Path, key: Mapping[str, str], step: int) -> None:
        name = f"{short_name(str(folder.absolute()))}-{uuid.uuid4().hex[:6]}"  # trackio knows runs by their names
        key = {"name": name, **key}
        super().__init__(TrackioTracker(PROJECT, name=key["name"], resume="allow", embed=False), key)

    def images(self, images: Mapping[str, ImageArray], step: int) -> None:
        import trackio

        self.tracker.log({name: trackio.Image(image) for name, image in images.items()}, step=step)


_MADE_BY: Final[dict[str, type[_TensorBoard | _MLflow | _Wandb | _Trackio]]] = {
    one.name: one for one in (_TensorBoard, _MLflow, _Wandb, _Trackio)
}
_MODULES: Final = {"tensorboard": "torch.utils.tensorboard"}


def _mlflow_name(name: str) -> str:
    """A name of the letters that MLflow allows."""
    return re.sub(r"[^\w\-. :/]", "_", name)


def check_trackers(names: Sequence[str]) -> None:
    """Reject before anything is written, where a tracker is wanted and cannot be imported.

    Raises:
        TrainingError: one is not installed.
    """
    for name in names:
        try:
            importlib.import_module(_MODULES.get(name, name))
        except ImportError as error:
            raise TrainingError(
                f"--track {name}: it cannot be imported ({error}): pip install detzoo[{name}]"
            ) from None


class Trackers:
    """The trackers of one run, on its main process.

    Args:
        folder: of the run.
        names: which.
        step: last step that counts.
        parameters: of the run, stored where a tracker begins a new one.
    """

    def __init__(self, folder: Path, names: Sequence[str], *, step: int, parameters: Mapping[str, Any]) -> None:
        self._live: dict[str, _Tracker] = {}
        known = _known(folder / TRACKED) if names else {}
        for name in dict.fromkeys(names):
            key = known.get(name)
            with self._telling(name):
                one = _MADE_BY[name](folder, key or {}, step)
                self._live[name] = one
                known[name] = one.key
                write_text(folder / TRACKED, json.dumps(known, indent=1) + "\n")
                if key is None or one.forgets:
                    one.parameters(parameters)

    @property
    def active(self) -> bool:
        """Whether any is left."""
        return bool(self._live)

    def step(self, values: Mapping[str, float], step: int) -> None:
        """Numbers of an optimiser step; not every tracker gets each of them."""
        self._each(lambda one: one.log(values, step) if step == 1 or step % one.every == 0 else None)

    def epoch(self, values: Mapping[str, float], step: int, module: nn.Module) -> None:
        """Numbers of an epoch, and histograms of the parameters where a tracker has a place for them."""
        if values:
            self._each(lambda one: one.log(values, step))
        self._each(lambda one: one.histograms(module, step) if isinstance(one, _TensorBoard) else None)

    def images(self, images: Mapping[str, ImageArray], step: int) -> None:
        """Images by name."""
        self._each(lambda one: one.images(images, step))

    def close(self, failure: type[BaseException] | None) -> None:
        """End all; ``failure`` is what ended the training, None where it came to its end."""
        self._each(lambda one: one.close(failure))
        self._live.clear()

    def _each(self, call: Callable[[_Tracker], None]) -> None:
        for name, one in list(self._live.items()):
            with self._telling(name):
                call(one)

    @contextlib.contextmanager
    def _telling(self, name: str) -> Iterator[None]:
        """What fails in a tracker is a warning, and the tracker is left alone from then on."""
        try:
            with contextlib.redirect_stdout(sys.stderr):  # stdout is for results
                yield
        except Exception as error:  # whatever a server, a disk or a package may raise
            self._live.pop(name, None)
            first = f"{type(error).__name__}: {error}".splitlines()[0][:_LETTERS]
            _log.warning("--track %s: failed (%s); the training goes on without it", name, first)


def _known(path: Path) -> dict[str, dict[str, str]]:
    """What continues the runs of an earlier start; nothing where the file is missing or was altered."""
    if not is_ordinary(path):
        return {}
    try:
        found = load_json(path)
    except DataError:
        found = None
    if isinstance(found, dict) and all(isinstance(key, dict) for key in found.values()):
        return found
    _log.warning("%s: it was altered; the trackers begin new runs", path)
    return {}


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by dotted names; lists as JSON, which every tracker takes for a text."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{name}.")
        elif value is None or isinstance(value, str | int | float):
            found[f"{prefix}{name}"] = value
        else:
            found[f"{prefix}{name}"] = json.dumps(value, default=str)
    return found
