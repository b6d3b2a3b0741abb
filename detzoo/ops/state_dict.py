"""Another implementation's state dict under a detector's own names, every tensor accounted for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeAlias

from torch import Tensor, nn

from detzoo.errors import WeightsError

StateDict: TypeAlias = Mapping[str, Tensor]
Rules: TypeAlias = tuple[tuple[str, str], ...]
"""Pattern of a whole key, and what becomes of it (as ``re.Match.expand`` writes it)."""
Children: TypeAlias = Mapping[type[nn.Module], Mapping[str, str]]
"""Child of another implementation's module -> ours, by the type of our module."""

COUNTER: Final = ".num_batches_tracked"
"""Of trainable batch norms; frozen ones keep none."""
TRAINABLE_EPS: Final = 1e-5
"""Of torch's batch norms."""


def by_rules(rules: Rules, key: str) -> str | None:
    """The new name that the first fitting rule gives a key; None where none fits."""
    for pattern, replacement in rules:
        found = re.fullmatch(pattern, key)
        if found:
            return found.expand(replacement)
    return None


def by_modules(children: Children, key: str, inside: nn.Module) -> str:
    """The name below ``inside`` of the tensor that is called ``key``; parts that are ours already stay as they are."""
    module: nn.Module | None = inside
    path = []
    for part in key.split("."):
        own = part if module is None else children.get(type(module), {}).get(part, part)
        path.append(own)
        module = None if module is None else dict(module.named_children()).get(own)
    return ".".join(path)


def renamed_state(
    state: StateDict,
    rename: Callable[[str], str | None],
    detector: nn.Module,
    *,
    source: str,
    convert: Callable[[str, Tensor], Tensor] = lambda name, value: value,
) -> dict[str, Tensor]:
    """Rename every tensor, and see that none is left over and none is lacking.

    Batch norms that are trainable in the source (eps 1e-5) and frozen in the detector, maybe with another eps, get
    their variances moved by the difference, so that they compute the same; their counters are left out. Counters that
    the source lacks stay the detector's own, as does what a loss keeps: neither plays a part in evaluation.

    Args:
        state: of the source.
        rename: the detector's name for a key, None where it knows none.
        detector: that is to hold the weights.
        source: ``torchvision``, ...; named in messages.
        convert: another layout of a value, given its new name.

    Returns:
        the detector's whole state dict.

    Raises:
        WeightsError: a key that ``rename`` does not know, one that the detector does not have, or one that is missing.
    """
    expected = detector.state_dict()
    named = {key: rename(key) for key in state}
    _complain(
        source, "has keys that no rule of the converter knows", (key for key, new in named.items() if new is None)
    )
    renamed = {new: convert(new, state[key]) for key, new in named.items() if new is not None}
    counters = {key: renamed.pop(key) for key in list(renamed) if key.endswith(COUNTER)}
    counted = {key.replace(COUNTER, ".running_var") for key in counters}
    _complain(source, "gives tensors that this detector does not have", (renamed.keys() | counted) - expected.keys())
    # a loss keeps running normalisers; they are of no use to evaluation
    own = {key: value for key, value in expected.items() if key.startswith("loss.") or key.endswith(COUNTER)}
    _complain(source, "lacks tensors that this detector needs", expected.keys() - renamed.keys() - own.keys())
    frozen = [key.removesuffix(COUNTER) for key in counters if key not in expected]
    variances = {f"{norm}.running_var": _variance(norm, renamed, detector) for norm in frozen}
    return own | renamed | variances | {key: value for key, value in counters.items() if key in expected}


def _variance(norm: str, renamed: StateDict, detector: nn.Module) -> Tensor:
    eps = detector.get_submodule(norm).eps
    assert isinstance(eps, float)
    variance = renamed[f"{norm}.running_var"]
    return variance if eps == TRAINABLE_EPS else variance + (TRAINABLE_EPS - eps)  # sqrt(var + eps) stays the same


def _complain(source: str, problem: str, keys: Iterable[str]) -> None:
    listed = sorted(keys)
    if listed:
        shown = ", ".join(listed[:4]) + (f" and {len(listed) - 4} more" if len(listed) > 4 else "")
        raise WeightsError(
            f"The {source} state dict {problem}: {shown}. Is it of the same architecture and number of classes as the "
            "recipe?"
        )
