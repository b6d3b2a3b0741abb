"""Spellings of transformers' state dicts, every tensor of which comes back; what does not fit is rejected."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from small_detr import our_model, their_model
from torch import Tensor
from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

from detzoo.errors import WeightsError
from detzoo.weights.detector import convert_weights

State = dict[str, Tensor]
PUBLISHED = (
    (r"model\.backbone\.", "model.backbone.conv_encoder."),
    (r"o_proj", "out_proj"),
    (r"mlp\.fc", "fc"),
)
"""What the Hub's files say where transformers 5 says otherwise: see its conversion mapping."""


def published(state: State) -> State:
    """The spelling of ``facebook/detr-resnet-50`` and ``SenseTime/deformable-detr``, with their counters."""
    renamed = {}
    for key, value in state.items():
        name = key
        for pattern, replacement in PUBLISHED:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value.clone()
        if name.endswith("running_var"):
            renamed[name.replace("running_var", "num_batches_tracked")] = torch.tensor(7)
    return renamed


@pytest.fixture(scope="module")
def detr() -> State:
    return dict(their_model("detr").state_dict())


@pytest.fixture(scope="module")
def plain() -> State:
    return dict(their_model("plain").state_dict())


def converted(family: str, state: State) -> State:
    detector = our_model(family)
    convert_weights(detector, state, source="transformers")
    return dict(detector.state_dict())


def same(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_names_of_the_published_file(detr: State) -> None:
    assert {
        "model.backbone.conv_encoder.model.conv1.weight",
        "model.backbone.conv_encoder.model.layer2.0.downsample.1.running_mean",
        "model.input_projection.weight",
        "model.encoder.layers.0.self_attn.out_proj.bias",
        "model.decoder.layers.2.encoder_attn.q_proj.weight",
        "model.decoder.layers.1.fc2.weight",
        "model.decoder.layernorm.weight",
        "class_labels_classifier.weight",
        "bbox_predictor.layers.2.bias",
    } <= published(detr).keys()


def test_the_published_spelling_of_detr(detr: State, tmp_path: Path) -> None:
    save_file(published(detr), tmp_path / "model.safetensors")
    detector = our_model("detr")
    convert_weights(detector, tmp_path / "model.safetensors", source="transformers")
    assert same(dict(detector.state_dict()), converted("detr", detr))


def test_no_object_moves_to_the_front(detr: State) -> None:
    theirs, ours = detr["class_labels_classifier.bias"], converted("detr", detr)["head.classes.bias"]
    assert ours.tolist() == [theirs[5].item(), *theirs[:5].tolist()]


def test_the_published_spelling_of_deformable_detr(plain: State) -> None:
    assert same(converted("plain", published(plain)), converted("plain", plain))


def test_transformers_own_resnet_is_read() -> None:
    """Stage 1's first block of basic layers has no shortcut of its own; the others do."""
    config = ResNetConfig(
        embedding_size=64, hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2], layer_type="basic",
        out_features=["stage4"],
    )  # fmt: skip
    sizes = {"encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "encoder_attention_heads": 4, "decoder_attention_heads": 4}
    own = DetrForObjectDetection(
        DetrConfig(
            backbone_config=config,
            d_model=32,
            num_queries=13,
            num_labels=5,
            encoder_layers=2,
            decoder_layers=3,
            **sizes,
        )
    ).state_dict()
    found = converted("detr", dict(own))
    their = own["model.backbone.model.encoder.stages.1.layers.0.shortcut.convolution.weight"]
    assert torch.equal(found["backbone.body.layer2.0.downsample.0.weight"], their)
    their = own["model.backbone.model.encoder.stages.3.layers.1.layer.1.normalization.running_var"]
    assert torch.equal(found["backbone.body.layer4.1.bn2.running_var"], their)


def test_a_key_too_many_and_one_too_few_are_named(detr: State) -> None:
    with pytest.raises(WeightsError, match=r"no rule.*mask_head"):
        converted("detr", detr | {"mask_head.conv1.weight": torch.zeros(1)})
    less = {key: value for key, value in detr.items() if key != "model.input_projection.bias"}
    with pytest.raises(WeightsError, match=r"lacks.*project"):
        converted("detr", less)


def test_layers_that_should_share_a_classifier_and_do_not_are_named(plain: State) -> None:
    with pytest.raises(WeightsError, match=r"class_embed\.1\.bias.*refine: false"):
        converted("plain", plain | {"class_embed.1.bias": plain["class_embed.0.bias"] + 1})


def test_another_source_is_not_ours(detr: State) -> None:
    with pytest.raises(WeightsError):
        convert_weights(our_model("detr"), detr, source="mmdet")
