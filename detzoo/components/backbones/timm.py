"""Any model of timm that can hand out its feature maps."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from detzoo.components.backbones.feature_extractor import check_levels, feature_specs
from detzoo.errors import RecipeError
from detzoo.interfaces import Backbone, Normalisation
from detzoo.runtime.near_names import nearest
from detzoo.types import FeatureMaps


class Timm(Backbone):
    """Adapter around ``timm.create_model(model, features_only=True)``. Needs the extra ``detzoo[timm]``.

    Nothing is downloaded: weights come from the recipe's ``backbone.weights``, a file of the model's own state dict.

    Args:
        input_size: (height, width) px, where fixed.
        model: timm's name, such as ``resnet18`` or ``mobilenetv4_conv_small``.
        levels: names by stride; which exist depends on the model, and the message of a wrong one lists them.
    """

    classifier_keys = ("*",)  # how the layers beyond the deepest level are named depends on the model

    def __init__(
        self,
        input_size: tuple[int, int] | None = None,
        /,
        *,
        model: str,
        levels: tuple[str, ...] = ("s8", "s16", "s32"),
    ) -> None:
        super().__init__()
        timm = import_timm("backbone timm")
        # of maps with one stride the last, deepest one counts
        known = {f"s{info['reduction']}": i for i, info in enumerate(_create(timm, model).feature_info.get_dicts())}
        check_levels(f'timm model "{model}"', levels, tuple(known))
        self.body = _create(timm, model, out_indices=[known[level] for level in levels])
        self.levels = tuple(levels)
        self.expects = _normalisation(timm, model)
        self.out = feature_specs(self, {level: float(level[1:]) for level in levels}, input_size)

    def forward(self, pixels: Tensor) -> FeatureMaps:
        """Maps by level, finest first."""
        return dict(zip(self.levels, self.body(pixels), strict=True))

    def adapt_weights(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The whole model's state dict under this one's names: timm flattens those of the stages that it extracts."""
        own = self.state_dict().keys()
        adapted: dict[str, Tensor] = {}
        for key, value in state.items():
            names = (f"body.{key}", f"body.{key.replace('.', '_', 1)}")  # features_only: stages.0.x becomes stages_0.x
            adapted[next((name for name in names if name in own), key)] = value
        return adapted


def import_timm(owner: str) -> Any:
    """The package timm.

    Raises:
        RecipeError: it is not installed; ``owner`` is what needs it.
    """
    try:
        import timm
    except ImportError:
        raise RecipeError(f"{owner} needs the package timm, which is not installed: pip install detzoo[timm]") from None
    return timm


def _create(timm: Any, model: str, **options: Any) -> Any:
    if model not in timm.list_models():
        hint = nearest(model, timm.list_models())
        raise RecipeError(f'model: timm {timm.__version__} has no model "{model}"{f"; {hint}" if hint else ""}')
    try:
        return timm.create_model(model, pretrained=False, features_only=True, **options)
    except (RuntimeError, AttributeError, NotImplementedError, TypeError) as error:
        raise RecipeError(f'model: timm\'s "{model}" cannot hand out feature maps: {error}') from None


def _normalisation(timm: Any, model: str) -> Normalisation | None:
    config = timm.get_pretrained_cfg(model)
    return None if config is None else Normalisation(tuple(config.mean), tuple(config.std))
