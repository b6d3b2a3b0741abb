"""Any model of timm that can hand out its feature maps."""

from __future__ import annotations

import difflib
from typing import Any

from torch import Tensor

from detzoo.components.backbones.feature_extractor import check_levels, trace_shapes
from detzoo.errors import RecipeError
from detzoo.interfaces import Backbone
from detzoo.types import FeatureMaps, FeatureSpec
from detzoo.weights.normalisation import Normalisation


class Timm(Backbone):
    """Adapter around ``timm.create_model(model, features_only=True)``. Needs the extra ``detzoo[timm]``.

    Nothing is downloaded: weights come from the recipe's ``backbone.weights``, a file of the model's own state dict.

    Args:
        input_size: (height, width) px, where fixed.
        model: timm's name, such as ``resnet18`` or ``mobilenetv4_conv_small``.
        levels: names by stride; which exist depends on the model, and the message of a wrong one lists them.
    """

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
        known = {f"s{info['reduction']}": i for i, info in enumerate(_create(timm, model).feature_info.get_dicts())}
        check_levels(f'timm model "{model}"', levels, tuple(known))
        self.body = _create(timm, model, out_indices=[known[level] for level in levels])
        self.levels = tuple(levels)
        self.dropped: tuple[str, ...] = ()
        self.expects = _normalisation(timm, model)
        shapes = trace_shapes(self, input_size or (256, 256))
        self.out = {
            level: FeatureSpec(shapes[level][0], float(level[1:]), shapes[level][1:] if input_size else None)
            for level in levels
        }

    def forward(self, pixels: Tensor) -> FeatureMaps:
        """Maps by level, finest first."""
        return dict(zip(self.levels, self.body(pixels), strict=True))

    def adapt_weights(self, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """Turn the whole model's state dict into this one's: timm flattens the names of the stages that it extracts.

        Returns:
            the tensors under this module's names, and the keys that belong to layers beyond the deepest level.
        """
        own = self.state_dict().keys()
        adapted: dict[str, Tensor] = {}
        dropped: list[str] = []
        for key, value in state.items():
            names = (f"body.{key}", f"body.{key.replace('.', '_', 1)}")
            name = next((name for name in names if name in own), None)
            if name is None:
                dropped.append(key)
            else:
                adapted[name] = value
        return adapted, dropped


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
        near = difflib.get_close_matches(model, timm.list_models(), n=3)
        hint = f" Nearest: {', '.join(near)}." if near else ""
        raise RecipeError(f'model: timm {timm.__version__} has no model "{model}".{hint}')
    try:
        return timm.create_model(model, pretrained=False, features_only=True, **options)
    except (RuntimeError, AttributeError, NotImplementedError, TypeError) as error:
        raise RecipeError(f'model: timm\'s "{model}" cannot hand out feature maps: {error}') from None


def _normalisation(timm: Any, model: str) -> Normalisation | None:
    config = timm.get_pretrained_cfg(model)
    return None if config is None else Normalisation(tuple(config.mean), tuple(config.std))
