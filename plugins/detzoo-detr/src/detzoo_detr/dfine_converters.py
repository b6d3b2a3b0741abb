"""transformers' state dicts of D-FINE and DEIMv2 in detzoo's names; every tensor is accounted for."""

from __future__ import annotations

import re
from typing import Final

import torch
from torch import Tensor, nn

from detzoo.errors import WeightsError
from detzoo.interfaces import Detector
from detzoo.ops.state_dict import StateDict, by_rules, renamed_state
from detzoo_detr.dfine_encoder import DfineEncoder, LiteEncoder
from detzoo_detr.dfine_head import DfineHead
from detzoo_detr.dfine_names import of_backbone, of_conv_norm, of_head, of_lite_neck, of_neck
from detzoo_detr.fine_grained import FineGrained

_OLDER: Final = (
    (r"^(.*)\.out_proj\.(.+)$", r"\1.o_proj.\2"),
    (r"^(.*layers\.\d+)\.fc([12])\.(.+)$", r"\1.mlp.fc\2.\3"),
    (r"^model\.encoder\.encoder\.(\d+)\.layers\.(.+)$", r"model.encoder.aifi.\1.layers.\2"),
)
"""Names of transformers 4, which the published files have, in those of transformers 5."""
_CONSTANTS: Final = {"model.decoder.up": "up", "model.decoder.reg_scale": "reg_scale"}
"""Numbers that the box coder of a recipe has."""
_COMPUTED: Final = re.compile(r"model\.decoder\.layers\.\d+\.encoder_attn\.num_points_scale")
TRANSFORMERS: Final = "transformers"
_BACKBONES: Final = ("model.backbone.model.", "model.conv_encoder.model.")


def from_transformers(state: StateDict, detector: Detector, *, source: str = TRANSFORMERS) -> dict[str, Tensor]:
    """``DFineForObjectDetection``'s and ``Deimv2ForObjectDetection``'s.

    Args:
        state: of a file of transformers 4 or 5.
        detector: the recipe of the same network.
        source: what messages call it.

    Returns:
        the same tensors under detzoo's names. Class and box heads stand in a file twice, and shared box heads once for
        each layer; here they stand once.

    Raises:
        WeightsError: a key that no rule knows, or one that is missing; copies that differ; constants that are not those
            of the recipe's box coder.
    """
    head, neck = detector.get_submodule("head"), detector.get_submodule("neck")
    assert isinstance(head, DfineHead)  # the hook asks no other
    state = {newer_name(key): value for key, value in state.items() if not _COMPUTED.fullmatch(key)}
    check_constants(state, head, source)
    kept = once({key: value for key, value in state.items() if key not in _CONSTANTS}, len(head.boxes), source)
    names = tuple(head.project)
    return renamed_state(kept, lambda key: name_of(key, neck, names), detector, source=source)


def newer_name(key: str) -> str:
    """As transformers 5 calls a tensor."""
    for pattern, replacement in _OLDER:
        key = re.sub(pattern, replacement, key)
    return re.sub(r"\.mlp\.fc([12])\.", lambda found: f".mlp.layers.{int(found[1]) - 1}.", key)


def name_of(key: str, neck: nn.Module, names: tuple[str, ...]) -> str | None:
    """Ours of one tensor, None where there is no rule."""
    for prefix in _BACKBONES:
        if key.startswith(prefix):
            inner = of_backbone(key.removeprefix(prefix))
            return inner and f"backbone.body.{inner}"
    found = re.fullmatch(r"model\.(?:conv_encoder\.)?encoder_input_proj\.(\d+)\.(.+)", key)
    if found:
        return f"neck.project.{names[int(found[1])]}.{of_conv_norm(found[2])}"
    if key.startswith("model.encoder."):
        inner = of_any_neck(key.removeprefix("model.encoder."), neck)
        return inner and f"neck.{inner}"
    inner = of_head(key.removeprefix("model."), names) if key.startswith("model.") else None
    return inner and f"head.{inner}"


def of_any_neck(key: str, neck: nn.Module) -> str | None:
    """Below the neck, whichever of the two it is."""
    if isinstance(neck, LiteEncoder):
        return of_lite_neck(key)
    if isinstance(neck, DfineEncoder):
        return of_neck(key, neck.names, tuple(neck.attend), split=neck.csp == "split")
    return None


def check_constants(state: StateDict, head: DfineHead, source: str) -> None:
    """See that distributions mean the same distances.

    Raises:
        WeightsError: they do not.
    """
    coder = head.coder
    if not isinstance(coder, FineGrained):
        return
    for key, name in _CONSTANTS.items():
        own = {"up": coder.up, "reg_scale": coder.reg_scale}[name]
        if key in state and abs(float(state[key]) - own) > 1e-6:
            raise WeightsError(
                f"The {source} state dict has {name} {float(state[key]):g}, the recipe's box coder {own:g}; write "
                f"head: {{box_coder: {{{name}: {float(state[key]):g}}}}}"
            )


def once(state: StateDict, box_heads: int, source: str) -> dict[str, Tensor]:
    """The state with every class and box head where the decoder has it, once.

    Raises:
        WeightsError: copies differ.
    """
    kept = dict(state)
    for key in state:
        target = by_rules(((r"((?:class|bbox)_embed\..+)", r"model.decoder.\1"),), key)
        if target is not None:
            move(kept, key, target, source)
    for key in list(kept):
        found = re.fullmatch(r"(model\.decoder\.bbox_embed)\.(\d+)\.(.+)", key)
        if found and int(found[2]) >= box_heads:
            move(kept, key, f"{found[1]}.0.{found[3]}", source)
    return kept


def move(state: dict[str, Tensor], key: str, target: str, source: str) -> None:
    """Take a tensor from one name to another, where the same may stand already.

    Raises:
        WeightsError: another one stands there.
    """
    value = state.pop(key)
    if not torch.equal(state.setdefault(target, value), value):
        raise WeightsError(
            f"The {source} state dict has another {key} than {target}, but the recipe's head has one for both"
        )
