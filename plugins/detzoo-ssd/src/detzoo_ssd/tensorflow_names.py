"""TensorFlow's SSD with predictors of its own for each map, out of a TFLite file, in detzoo's names."""

from __future__ import annotations

from typing import Final

from torch import Tensor

from detzoo.interfaces import Detector
from detzoo.ops.state_dict import Rules, StateDict, by_rules, renamed_state
from detzoo.weights.folded_layers import unfold_layers
from detzoo.weights.onnx_initialisers import layers_of

PREDICTORS: Final[Rules] = (
    (r"BoxPredictor_(\d+)/BoxEncodingPredictor\.(.+)", r"head.regression.\1.\2"),
    (r"BoxPredictor_(\d+)/ClassPredictor\.(.+)", r"head.classification.\1.\2"),
)
"""The layers without norms; of the others nothing but their order is left."""
X_FIRST: Final = [1, 0, 3, 2]
"""TensorFlow writes a box as y, x, height, width."""


def from_tflite(state: StateDict, detector: Detector) -> dict[str, Tensor]:
    """Networks of TensorFlow's Object Detection API as they were exported, norms folded into the convolutions.

    Args:
        state: of ``read_tflite``; ``#...`` keys are convolutions with folded norms.
        detector: the recipe of the same network, with ``scoring: sigmoid``.

    Returns:
        the same tensors under detzoo's names. Folded norms become norms that only add the bias. Background's own
        score is left out: with a sigmoid for each class it has no part in the others.

    Raises:
        WeightsError: a key that no rule knows, or one that is missing; another number of convolutions, or other shapes.
    """
    named = {key: value for key, value in state.items() if not key.startswith("#")}
    folded = unfold_layers(layers_of(state), detector)
    columns = len(detector.classes) + 1  # background is the first

    def rename(key: str) -> str | None:
        return key if key in folded else by_rules(PREDICTORS, key)

    def convert(name: str, value: Tensor) -> Tensor:
        if name.startswith("head.regression.") and value.shape[0] % 4 == 0:
            return value.reshape(-1, 4, *value.shape[1:])[:, X_FIRST].flatten(0, 1)
        if name.startswith("head.classification.") and value.shape[0] % columns == 0:
            return value.reshape(-1, columns, *value.shape[1:])[:, 1:].flatten(0, 1)
        return value

    return renamed_state(named | folded, rename, detector, source="tflite", convert=convert)
