"""``detzoo pretrain``: a backbone learns to classify whole images, for whoever has no pretrained network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Unpack, cast

import torch
from torch import Tensor
from torch.nn import functional

from detzoo.builder import build_component
from detzoo.data.class_folders import ClassFolders, read_class_folders
from detzoo.interfaces import Backbone, GradientStage, Stage
from detzoo.interfaces.stages import Objective
from detzoo.runtime.device import device_of
from detzoo.runtime.switches import Precision
from detzoo.training import rng
from detzoo.training.class_batches import ClassBatches, ClassImages, normalised
from detzoo.training.classifier import Classifier, save_backbone
from detzoo.training.keyword_options import TrainKeywords
from detzoo.training.options import TrainOptions
from detzoo.training.plan import TrainPlan
from detzoo.training.pretraining_plan import PretrainPlan, load_plan
from detzoo.training.summary import RunSummary
from detzoo.training.task import Evaluated, Loading, TrainingTask
from detzoo.training.trainer import train_task
from detzoo.weights.normalisation import IMAGENET

WEIGHTS: Final = "backbone.safetensors"
_SAME: Final = ("model", "width", "padding", "norm_eps")


@dataclass(frozen=True)
class Pretrained:
    """The end of a pretraining.

    Args:
        summary: of the run.
        classes: number of classes.
        hint: how a recipe uses the weights.
    """

    summary: RunSummary
    classes: int
    hint: str

    def __str__(self) -> str:
        lines = [f"{self.summary}; {self.classes} classes", self.hint]
        if self.summary.broken:
            lines.insert(1, f"left out, the first: {self.summary.broken[0]}")
        return "\n".join(lines)


def pretrain(
    backbone: str, data: str | Path, out: str | Path, *, overrides: Sequence[str] = (), **options: Unpack[TrainKeywords]
) -> Pretrained:
    """Train a backbone on a folder of classes and write ``backbone.safetensors``, which ``backbone.weights`` takes.

    Killed at any moment and called again with ``resume``, it ends with the same weights as a run that was left alone
    (bit for bit on the CPU).

    Args:
        backbone: a registered one.
        data: folder of classes; see ``read_class_folders``.
        out: run folder. Without ``resume`` it must not hold a run.
        overrides: ``backbone.padding=keras``, ``optimizer.lr=0.1``, ``size=160``; see ``PretrainPlan``.
        options: those of ``TrainOptions``.

    Raises:
        DetzooError: wrong settings or data, or a run that cannot start or go on.
        Interrupted: a KeyboardInterrupt: Ctrl-C or SIGTERM came; a checkpoint was written.
    """
    chosen = TrainOptions.of(options)
    config, plan, values = load_plan(backbone, overrides)
    folders = read_class_folders(Path(data), val_fraction=plan.val_fraction, seed=plan.seed)
    rng.seed_everything(plan.seed if chosen.seed is None else chosen.seed)  # before the network: it starts at random
    network = build_component("backbone", config, input_size=(plan.size, plan.size))
    task = ClassificationTask(network, plan, values, folders)
    summary = train_task(task, Path(out), chosen)
    return Pretrained(summary, len(folders.classes), _hint(Path(out), config))


def _hint(out: Path, config: dict[str, Any]) -> str:
    """How a recipe uses the weights: the fields that decide what the layers compute must be the same there."""
    same = [f" --set backbone.{name}={config[name]}" for name in _SAME if name in config]
    return f"use it in a recipe of this backbone: --set backbone.weights={out / WEIGHTS}{''.join(same)}"


class ClassificationTask(TrainingTask):
    """A backbone with a classifier on top, and images in folders of classes.

    Args:
        backbone: to be pretrained.
        plan: how.
        values: the plan and the backbone's configuration as plain values.
        folders: the data.
    """

    metric: ClassVar[str] = "top1"
    curve: ClassVar[tuple[str, ...]] = ("top1", "top5")
    network: Classifier

    def __init__(self, backbone: Backbone, plan: PretrainPlan, values: dict[str, Any], folders: ClassFolders) -> None:
        self.network = Classifier(backbone, len(folders.classes), dropout=plan.dropout)
        self.name, self.values = f"pretrain {values['backbone']['type']}", values
        self.classes, self.plan = tuple(folders.classes), plan.as_train_plan()
        self._plan, self._folders = plan, folders
        # so that published weights of this backbone would fit the input too
        self._normalisation = backbone.expects or IMAGENET
        self._broken: dict[str, str] = {}

    @property
    def data_facts(self) -> dict[str, Any]:
        """Name, split, images and classes of the training data, and how many images validate."""
        folders = self._folders
        facts = {"name": folders.name, "split": "train", "images": len(folders.train)}
        return facts | {"classes": list(folders.classes), "val": len(folders.val)}

    @property
    def evaluates(self) -> bool:
        """Whether there are images to validate on."""
        return len(self._folders.val) > 0

    def stages(self) -> list[Stage]:
        """One."""
        return [GradientStage(name="train", losses=cast("Objective", self.losses))]

    def losses(self, batch: ClassImages, labels: Tensor) -> dict[str, Tensor]:
        """Cross-entropy."""
        smoothing = self._plan.label_smoothing
        return {"class": functional.cross_entropy(self._logits(batch), labels, label_smoothing=smoothing)}

    def _logits(self, batch: ClassImages) -> Tensor:
        logits: Tensor = self.network(normalised(batch.pixels, self._normalisation))
        return logits.float()  # cross-entropy in float32 under autocast

    def batches(self, plan: TrainPlan, loading: Loading) -> ClassBatches:
        """Random crops of the training images."""
        return ClassBatches(self._folders.train, self._plan, loading, self._broken)

    def evaluate(self, *, batch: int, precision: Precision, workers: int) -> ClassificationScores:
        """Shares of the validation images whose class is the first, and among the first five."""
        loading = Loading(batch=batch, seed=self._plan.seed, workers=workers)
        images = ClassBatches(self._folders.val, self._plan, loading, self._broken)
        device, right, near, count = device_of(self.network), 0, 0, 0
        half = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
        modes = {part: part.training for part in self.network.modules()}
        self.network.eval()
        with torch.inference_mode(), half:
            for found, labels in images.in_order():
                logits = self._logits(found.to(device))
                best = logits.topk(min(5, logits.shape[1])).indices.cpu()
                hits = best == labels[:, None]  # [B,5]
                right, near = right + int(hits[:, 0].sum()), near + int(hits.any(dim=1).sum())
                count += len(labels)
        for part, training in modes.items():
            part.training = training  # a frozen norm stays as it was
        return ClassificationScores(
            {"top1": right / count, "top5": near / count} if count else dict.fromkeys(self.curve, float("nan"))
        )

    def keep(self, out: Path, found: Evaluated | None) -> None:
        """The backbone alone, as recipes take it."""
        scores = {} if found is None else dict(found.metrics)
        about = {"settings": self.values, "classes": list(self.classes), **scores}
        save_backbone(out / WEIGHTS, self.network, about, self._normalisation)


@dataclass(frozen=True)
class ClassificationScores:
    """Accuracy of a classifier.

    Args:
        metrics: ``top1`` and ``top5``, 0..1.
    """

    metrics: Mapping[str, float]

    def write(self, folder: Path) -> None:
        """Nothing: the curve has it."""
