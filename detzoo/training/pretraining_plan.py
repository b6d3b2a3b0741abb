"""The settings of ``detzoo pretrain``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field

from detzoo.errors import RecipeError
from detzoo.plugins.registry import get_registry
from detzoo.recipes.component_values import load_settings
from detzoo.recipes.filling import component_fields
from detzoo.schema import nodes
from detzoo.schema.signature import plain, schema_of
from detzoo.training.plan import Optimizer, Schedule, TrainPlan

Share = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class PretrainPlan:
    """How a backbone learns to classify whole images.

    Args:
        epochs: passes over the data.
        batch: images per step, for which ``optimizer.lr`` is meant.
        size: side of the square that the network sees, px.
        optimizer: algorithm and learning rate.
        schedule: how the learning rate moves.
        crop: range of the share of an image's area that a random crop keeps.
        aspect: range of the crop's width to height, before it is resized to the square.
        flip: probability of a horizontal flip.
        label_smoothing: share of the target that is spread over all classes.
        dropout: before each fully connected layer, where the backbone has such.
        val_fraction: of the images kept for validation, where no folder holds them.
        seed: of everything random.

    Source: the usual ImageNet training: crops and aspect ratios of Szegedy et al. 2015 (arXiv:1409.4842), a cosine
    after a warm-up.
    """

    epochs: Annotated[int, Field(ge=1)] = 90
    batch: Annotated[int, Field(ge=2)] = 64
    size: Annotated[int, Field(ge=32)] = 224
    optimizer: Optimizer = field(default_factory=lambda: Optimizer(lr=0.02, weight_decay=1e-4, nesterov=True))
    schedule: Schedule = field(default_factory=lambda: Schedule(name="cosine", warmup_steps=500))
    crop: tuple[Share, Share] = (0.08, 1.0)
    aspect: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.75, 4 / 3)
    flip: Annotated[float, Field(ge=0, le=1)] = 0.5
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    val_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    seed: Annotated[int, Field(ge=0)] = 0

    def as_train_plan(self) -> TrainPlan:
        """The part that the trainer follows."""
        return TrainPlan(
            epochs=self.epochs,
            batch=self.batch,
            optimizer=self.optimizer,
            schedule=self.schedule,
            seed=self.seed,
        )


def load_plan(backbone: str, overrides: Sequence[str]) -> tuple[dict[str, Any], PretrainPlan, dict[str, Any]]:
    """The settings by the words of a command line.

    Args:
        backbone: its registered name.
        overrides: ``backbone.padding=keras``, ``optimizer.lr=0.1``, ``size=160``.

    Returns:
        the backbone's configuration, the plan, and both as plain values.

    Raises:
        RecipeError: everything that is wrong with them.
    """
    fields = {"backbone": nodes.Field(nodes.ComponentOf("backbone"))} | schema_of(PretrainPlan).fields
    written: dict[str, Any] = {"backbone": {"type": backbone}}
    if "last_conv" in component_fields("backbone", backbone, get_registry()):
        written["backbone"]["last_conv"] = True  # the whole network: recipes with and without it can start from it
    written |= {name: plain(getattr(PretrainPlan(), name)) for name in ("optimizer", "schedule")}
    values = load_settings(fields, written, overrides, what="detzoo pretrain")
    given = {name: value for name, value in values.items() if name != "backbone"}
    optimizer, schedule = _tuples(given["optimizer"]), _tuples(given["schedule"])
    plan = PretrainPlan(**_tuples(given) | {"optimizer": Optimizer(**optimizer), "schedule": Schedule(**schedule)})
    if min(plan.crop) != plan.crop[0] or min(plan.aspect) != plan.aspect[0]:
        raise RecipeError(f"crop and aspect are ranges, the smaller end first, found {plan.crop} and {plan.aspect}")
    return values["backbone"], plan, values


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
