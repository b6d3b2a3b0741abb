"""Published classification weights into a backbone, every key accounted for."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from detzoo.errors import WeightsError
from detzoo.interfaces import Backbone, Normalisation
from detzoo.weights.normalisation import recorded_normalisation
from detzoo.weights.sources import fetch, file_sha256, read_state_dict
from detzoo.weights.values import value_problems

_log = logging.getLogger("detzoo.weights")
_MOST: Final = 10  # names in a message
PREFIXES: Final = (
    "", "ema.backbone.", "model.backbone.", "backbone.body.", "backbone.", "module.backbone.", "module.", "model.",
)  # fmt: skip
"""What may stand before a backbone's keys in a file: detzoo's checkpoints, torchvision's detectors, DataParallel.

Of those that fit equally well the first is taken.
"""


@dataclass(frozen=True)
class LoadedWeights:
    """What was loaded, for logs, checkpoints and the check of the input's normalisation.

    Args:
        path: the file.
        sha256: of the file, 64 digits.
        loaded: number of tensors that went into the backbone.
        dropped: keys left out on purpose: layers that the backbone does not keep, and what is not the backbone's.
        expects: normalisation that the file records, else that of the usual published weights of this backbone.
    """

    path: Path
    sha256: str
    loaded: int
    dropped: tuple[str, ...]
    expects: Normalisation | None


def load_backbone_weights(
    backbone: Backbone,
    location: str | Path,
    *,
    sha256: str | None = None,
    cache_dir: str | Path | None = None,
    progress: bool = True,
) -> LoadedWeights:
    """Load a state dict into ``backbone``; half precision is turned into the backbone's own.

    Keys are those of torchvision's classification model, with or without ``body.`` before them, or those of a whole
    detector whose backbone this is; ``backbone.adapt_weights`` translates others. Keys that ``classifier_keys`` names
    and no parameter has are left out, and named in the log. Nothing changes in ``backbone`` unless everything fits.

    Args:
        backbone: to load into.
        location: path or address.
        sha256: of the file, all of it or its beginning.
        cache_dir: see ``fetch``.
        progress: see ``fetch``.

    Raises:
        WeightsError: file missing or damaged, keys missing, unexpected, of another shape, or values that are not
        finite.
    """
    path = fetch(location, sha256=sha256, cache_dir=cache_dir, progress=progress)
    state, dropped = _to_own_names(backbone, read_state_dict(path))
    _check_fit(backbone, state, path)
    _check_values(backbone, state, path)  # before copying: a refused file leaves the backbone untouched
    with torch.no_grad():
        own = backbone.state_dict()
        for name, value in state.items():
            own[name].copy_(value)  # in place, cast on the way: dtype and device stay the backbone's
    told = [key for key in dropped if not is_counter(key)]
    if told:
        _log.info("%s: left out, a detector does not use them: %s", path, ", ".join(told))
    expects = recorded_normalisation(path) or backbone.expects
    return LoadedWeights(path, file_sha256(path), len(state), tuple(dropped), expects)


def _to_own_names(backbone: Backbone, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The state under the backbone's names, unknown keys as they are, and the keys that are left out on purpose."""
    own = backbone.state_dict().keys()

    def fitting(prefix: str) -> int:
        return sum(_own_name(key.removeprefix(prefix), own) is not None for key in state if key.startswith(prefix))

    prefix = max(PREFIXES, key=fitting)  # max keeps the first of equals
    given = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    if not any(key in own for key in given):
        given = backbone.adapt_weights(given)
    renamed: dict[str, Tensor] = {}
    dropped = [key for key in state if not key.startswith(prefix)]
    for key, value in given.items():
        name = _own_name(key, own)
        if name is not None:
            renamed[name] = value
        elif is_counter(key) or _matches(key.removeprefix("body."), backbone.classifier_keys):
            dropped.append(prefix + key)
        else:
            renamed[prefix + key] = value
    return renamed, dropped


def _own_name(key: str, own: Iterable[str]) -> str | None:
    return next((name for name in (f"body.{key}", key) if name in own), None)


def _matches(key: str, globs: Iterable[str]) -> bool:
    return any(fnmatchcase(key, glob) for glob in globs)


def is_counter(key: str) -> bool:
    """Batch norm's count of batches: old files lack it, frozen norms do not keep it, and evaluation never reads it."""
    return key.endswith(".num_batches_tracked")


def _check_fit(backbone: Backbone, state: dict[str, Tensor], path: Path) -> None:
    own = backbone.state_dict()
    missing = [name for name in own if name not in state and not is_counter(name)]
    unexpected = [key for key in state if key not in own]
    misshapen = [
        f"{name} {list(value.shape)} (needs {list(own[name].shape)})"
        for name, value in state.items()
        if name in own and own[name].shape != value.shape
    ]
    if not (missing or unexpected or misshapen):
        return
    found = (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen))
    lines = [f"  {len(names)} {what}: {_listed(names)}" for what, names in found if names]
    raise WeightsError(
        f"{path} does not fit {type(backbone).__name__}:\n"
        + "\n".join(lines)
        + "\n  Check that the file belongs to this architecture, width and variant; to train from scratch set "
        "backbone.weights to null."
    )


def _check_values(backbone: Backbone, state: dict[str, Tensor], path: Path) -> None:
    bad = value_problems(backbone.state_dict(), state)
    if bad:
        raise WeightsError(
            f"{path} holds values that cannot be weights: {_listed(bad)}. The file is damaged, or its training "
            "diverged."
        )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(names[:_MOST]) + more
