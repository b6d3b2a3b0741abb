"""torchvision's state dicts in detzoo's names; every tensor is accounted for, and all of them are kept."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from torch import Tensor, nn

from detzoo.errors import WeightsError

StateDict = dict[str, Tensor]
Rules = tuple[tuple[str, str], ...]

TORCHVISION: Final[Rules] = (
    (r"backbone\.body\.(.+)", r"backbone.body.\1"),
    (r"backbone\.fpn\.(inner|layer)_blocks\.(\d+\.0\..+)", r"neck.\1_blocks.\2"),
    (r"backbone\.fpn\.(inner|layer)_blocks\.(\d+)\.(weight|bias)", r"neck.\1_blocks.\2.0.\3"),
    (r"backbone\.fpn\.extra_blocks\.(p[67]\..+)", r"neck.extra_blocks.\1"),
    (r"head\.classification_head\.cls_logits\.(.+)", r"head.classification.\1"),
    (r"head\.regression_head\.bbox_reg\.(.+)", r"head.regression.\1"),
    (r"head\.regression_head\.bbox_ctrness\.(.+)", r"head.centreness.\1"),
    (r"head\.classification_head\.conv\.(\d+\.[01]\..+)", r"head.class_tower.\1"),
    (r"head\.regression_head\.conv\.(\d+\.[01]\..+)", r"head.box_tower.\1"),
)
"""Names of torchvision 0.13 and later; towers in one flat list, see ``_name``, are FCOS's and the older RetinaNet's."""

TOWERS: Final = {"classification": "class_tower", "regression": "box_tower"}
TORCHVISION_EPS: Final = 1e-5
"""Of torchvision's trainable batch norms, which keep a counter."""
COUNTER: Final = ".num_batches_tracked"


def from_torchvision(state: StateDict, detector: nn.Module) -> StateDict:
    """torchvision's RetinaNet (both versions) and FCOS: the published files, old names and new, and state dicts.

    A model that torchvision built without pretrained weights has trainable batch norms (eps 1e-5) where some recipes
    have frozen ones: its variances are then moved by the difference of the two eps, so that the norms compute the same.

    Args:
        state: of one of the builders, for any number of classes.
        detector: the recipe of the same name.

    Returns:
        the same tensors under detzoo's names.

    Raises:
        WeightsError: a key that no rule knows, or one that is missing.
    """
    expected = detector.state_dict()
    renamed: StateDict = {}
    counters: StateDict = {}
    unknown = []
    for key, value in state.items():
        new = _name(key, detector)
        if new is None:
            unknown.append(key)
        else:
            (counters if new.endswith(COUNTER) else renamed)[new] = value
    _complain("has keys that no rule of the converter knows", unknown)
    counted = {name.replace(COUNTER, ".running_var") for name in counters}
    _complain("gives tensors that this detector does not have", (renamed.keys() | counted) - expected.keys())
    own_counters = {key: value for key, value in expected.items() if key.endswith(COUNTER)}
    _complain("lacks tensors that this detector needs", _needed(expected) - renamed.keys() - own_counters.keys())
    frozen = {name for name in counters if name not in own_counters}
    variances = {name.replace(COUNTER, ".running_var"): _variance(name, renamed, detector) for name in sorted(frozen)}
    # files without counters leave the detector's own, which evaluation never reads
    own = {key: value for key, value in expected.items() if key.startswith("loss.")}
    return own | renamed | variances | {name: counters.get(name, kept) for name, kept in own_counters.items()}


def _needed(expected: StateDict) -> set[str]:
    """What a network needs: a loss may keep a moving average of its own, which no foreign file knows."""
    return {key for key in expected if not key.startswith("loss.")}


def _name(key: str, detector: nn.Module) -> str | None:
    found = re.fullmatch(r"head\.(classification|regression)_head\.conv\.(\d+)\.(weight|bias)", key)
    if found:  # convolution, norm (where there is one) and ReLU in turn, without names
        tower = detector.get_submodule(f"head.{TOWERS[found[1]]}")
        each = len(list(tower.get_submodule("0").children())) if list(tower.children()) else 1
        place, part = divmod(int(found[2]), each)
        return f"head.{TOWERS[found[1]]}.{place}.{part}.{found[3]}"
    for pattern, replacement in TORCHVISION:
        found = re.fullmatch(pattern, key)
        if found:
            return found.expand(replacement)
    return None


def _variance(counter: str, renamed: StateDict, detector: nn.Module) -> Tensor:
    """The variance of a norm that is trainable in torchvision's model and frozen, maybe with another eps, in ours."""
    norm = counter.removesuffix(COUNTER)
    eps = detector.get_submodule(norm).eps
    assert isinstance(eps, float)
    variance = renamed[f"{norm}.running_var"]
    return variance if eps == TORCHVISION_EPS else variance + (TORCHVISION_EPS - eps)


def _complain(problem: str, keys: Iterable[str]) -> None:
    listed = sorted(keys)
    if listed:
        shown = ", ".join(listed[:4]) + (f" and {len(listed) - 4} more" if len(listed) > 4 else "")
        raise WeightsError(
            f"The torchvision state dict {problem}: {shown}. Is it of the same architecture and number of classes as "
            "the recipe?"
        )
