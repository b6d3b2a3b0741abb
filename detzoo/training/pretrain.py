"""``detzoo pretrain``: a backbone learns to classify whole images, for whoever has no pretrained network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from detzoo.builder import build_component
from detzoo.data.class_folders import ClassFolders, read_class_folders
from detzoo.errors import TrainingError
from detzoo.runtime.device import pick_device
from detzoo.runtime.differences import differences
from detzoo.runtime.parallel import cores
from detzoo.training import rng
from detzoo.training.classifier import Classifier
from detzoo.training.pretrain_plan import load_plan
from detzoo.training.pretrain_run import WEIGHTS, Run, State
from detzoo.weights.checkpoint import LAST, Checkpoint, load_checkpoint
from detzoo.weights.normalisation import IMAGENET

Precision = Literal["fp32", "bf16"]
_SAME: Final = ("model", "width", "padding", "norm_eps")


@dataclass(frozen=True)
class Pretrained:
    """The end of a run.

    Args:
        out: run folder.
        state: where it ended.
        classes: number of classes.
        hint: how a recipe uses the weights.
    """

    out: Path
    state: State
    classes: int
    hint: str

    def __str__(self) -> str:
        state = self.state
        best = "" if state.best is None else f", best top-1 {100 * state.best:.1f} % in epoch {state.best_epoch}"
        lines = [f"{self.out}: {state.epoch} epochs, {self.classes} classes{best}, {state.seconds:.0f} s"]
        if state.broken:
            lines.append(f"left out: {len(state.broken)} images that cannot be read, the first: {state.broken[0]}")
        return "\n".join([*lines, self.hint])


def pretrain(
    backbone: str,
    data: str | Path,
    out: str | Path,
    *,
    overrides: Sequence[str] = (),
    epochs: int | None = None,
    batch: int | None = None,
    resume: bool = False,
    device: str | None = None,
    workers: int | None = None,
    precision: Precision = "fp32",
    checkpoint_seconds: float = 300.0,
    progress: bool = True,
) -> Pretrained:
    """Train a backbone on a folder of classes and write ``backbone.safetensors``, which ``backbone.weights`` takes.

    Killed at any moment and called again with ``resume``, it ends with the same weights as a run that was left alone
    (bit for bit on the CPU).

    Args:
        backbone: a registered one.
        data: folder of classes; see ``read_class_folders``.
        out: run folder. Without ``resume`` it must not hold a run.
        overrides: ``backbone.padding=keras``, ``optimizer.lr=0.1``, ``size=160``; see ``PretrainPlan``.
        epochs: instead of the plan's.
        batch: images a step instead of the plan's; the learning rate is scaled in proportion.
        resume: go on with the run in ``out``; starts anew where there is none yet.
        device: None takes the best there is.
        workers: processes that read images; two fewer than there are cores, eight at most, without it.
        precision: of the network.
        checkpoint_seconds: write a checkpoint when the last is older than this, beside that of each epoch.
        progress: show it on stderr.

    Raises:
        DetzooError: wrong settings or data, or a run that cannot start or go on.
        Interrupted: a KeyboardInterrupt: Ctrl-C or SIGTERM came; a checkpoint was written.
    """
    length = [] if epochs is None else [f"epochs={epochs}"]
    config, plan, values = load_plan(backbone, [*overrides, *length])
    folders = read_class_folders(Path(data), val_fraction=plan.val_fraction, seed=plan.seed)
    out = Path(out)
    settings: dict[str, Any] = {"precision": precision, "batch": min(batch or plan.batch, len(folders.train))}
    settings |= {"data": {"name": folders.name, "train": len(folders.train), "val": len(folders.val)}}
    saved = _open(out, values, folders, settings, resume=resume)
    rng.seed_everything(plan.seed)
    network = build_component("backbone", config, input_size=(plan.size, plan.size))
    classifier = Classifier(network, len(folders.classes), dropout=plan.dropout).to(pick_device(device))
    run = Run(
        classifier=classifier,
        plan=plan,
        values=values,
        folders=folders,
        settings=settings,
        out=out,
        workers=max(1, min(8, cores() - 2)) if workers is None else workers,
        normalisation=network.expects or IMAGENET,
        checkpoint_seconds=checkpoint_seconds,
        show=progress,
    )
    run.begin(saved)
    run.train()
    return Pretrained(out, run.state, len(folders.classes), _hint(out, config))


def _hint(out: Path, config: dict[str, Any]) -> str:
    """How a recipe uses the weights: the fields that decide what the layers compute must be the same there."""
    same = [f" --set backbone.{name}={config[name]}" for name in _SAME if name in config]
    return f"use it in a recipe of this backbone: --set backbone.weights={out / WEIGHTS}{''.join(same)}"


def _open(
    out: Path, values: dict[str, Any], folders: ClassFolders, settings: dict[str, Any], *, resume: bool
) -> Checkpoint | None:
    """The checkpoint to go on from, or None for a new run; nothing of an existing one is written over."""
    if not (out / LAST).is_file():
        if not resume and out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise TrainingError(f"{out}: exists and is no run of detzoo; choose another --out (nothing was changed)")
        return None
    saved = load_checkpoint(out / LAST)
    if not resume:
        raise TrainingError(
            f"{out}: already holds a run; add --resume to go on, or choose another --out (nothing was changed)"
        )
    old = {"settings": saved.recipe["values"], "classes": list(saved.classes), "run": saved.run.get("pretrain")}
    new = {"settings": values, "classes": list(folders.classes), "run": settings}
    found = [f"  {path}: {was!r} in the run, {now!r} now" for path, was, now in differences(old, new)]
    if found:
        raise TrainingError(
            f"{out}: cannot resume, this is another training:\n" + "\n".join(found) + "\n"
            "Repeat the command with the same values, or start a new run with another --out."
        )
    return saved
