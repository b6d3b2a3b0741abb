"""Truncated SVD of fully connected layers: exact at full rank, the best approximation below it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import detzoo
from detzoo import convert_weights
from detzoo.detectors.two_stage import TwoStage
from detzoo.errors import RecipeError, WeightsError
from detzoo.prediction.predict import inference, prepared
from detzoo_faster_rcnn.svd import LowRank, compressed, factors

SMALL = {"backbone.weights": None, "box.head.fc": [24, 16], "box.head.roi_pool.output": [3, 3]}


def weight(outputs: int = 7, inputs: int = 11, seed: int = 0) -> torch.Tensor:
    return torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def built(**changes: object) -> TwoStage:
    torch.manual_seed(0)
    overrides = {**SMALL, **{name.replace("__", "."): value for name, value in changes.items()}}
    detector = detzoo.build("fastrcnn_mobilenet_v2", num_classes=3, overrides=overrides, weights=None)
    assert isinstance(detector, TwoStage)
    return detector


@pytest.mark.parametrize(("outputs", "inputs"), [(7, 11), (11, 7), (1, 5), (6, 6)])
def test_full_rank_is_exact(outputs: int, inputs: int) -> None:
    matrix = weight(outputs, inputs)
    project, expand = factors(matrix, min(outputs, inputs))
    torch.testing.assert_close(expand @ project, matrix, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rank", [1, 2, 4, 6])
def test_the_error_is_that_of_the_best_approximation(rank: int) -> None:
    """Eckart and Young: no matrix of rank t is nearer than the one whose error is the singular values left out."""
    matrix = weight()
    project, expand = factors(matrix, rank)
    assert project.shape == (rank, 11)
    assert expand.shape == (7, rank)
    left_out = np.linalg.svd(matrix.numpy(), compute_uv=False)[rank:]
    error = matrix - expand @ project
    assert float(error.norm()) == pytest.approx(float(np.sqrt((left_out**2).sum())), rel=1e-12)
    assert float(torch.linalg.matrix_norm(error, 2)) == pytest.approx(float(left_out[0]), rel=1e-12)


def test_a_matrix_by_hand() -> None:
    # diag(3, 2) has rank 1 as diag(3, 0): the error is the 2
    project, expand = factors(torch.diag(torch.tensor([3.0, 2.0])), 1)
    torch.testing.assert_close(expand @ project, torch.diag(torch.tensor([3.0, 0.0])))
    # the paper's split: the first layer is S V^T, the second the orthonormal U
    torch.testing.assert_close(project.abs(), torch.tensor([[3.0, 0.0]]))
    torch.testing.assert_close(expand.abs(), torch.tensor([[1.0], [0.0]]))


def test_the_layer_equals_the_product() -> None:
    whole, thin = nn.Linear(11, 7), LowRank(11, 7, 7)
    with torch.no_grad():
        thin.project.weight[:], thin.expand.weight[:] = factors(whole.weight, 7)
        thin.expand.bias.copy_(whole.bias)
    x = torch.randn(5, 11)
    torch.testing.assert_close(thin(x), whole(x), rtol=1e-5, atol=1e-5)
    assert thin(torch.zeros(0, 11)).shape == (0, 7)
    assert not hasattr(thin.project, "bias") or thin.project.bias is None


def test_a_detector_of_full_rank_predicts_the_same() -> None:
    whole, thin = built(), built(box__head__fc_ranks=[24, 16])
    convert_weights(thin, whole.state_dict(), source="svd")
    batch = prepared(whole, [np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)])
    with inference(whole), inference(thin):
        features = whole.features(batch)
        _, one = whole.box.head(features, batch, whole.proposals(features, batch))
        _, two = thin.box.head(features, batch, whole.proposals(features, batch))
    assert one.deltas.shape == (1, 500, 3, 4)
    torch.testing.assert_close(one.class_logits, two.class_logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(one.deltas, two.deltas, rtol=1e-4, atol=1e-5)


def test_one_layer_may_stay_whole() -> None:
    whole, thin = built(), built(box__head__fc_ranks=[4, None])
    convert_weights(thin, whole.state_dict(), source="svd")
    state = thin.state_dict()
    # the pooled features are 96 channels of stride 16 in 3 x 3 bins
    assert state["box.head.fc.0.project.weight"].shape == (4, 96 * 9)
    assert state["box.head.fc.0.expand.weight"].shape == (24, 4)
    assert torch.equal(state["box.head.fc.0.expand.bias"], whole.state_dict()["box.head.fc.0.bias"])
    assert torch.equal(state["box.head.fc.1.weight"], whole.state_dict()["box.head.fc.1.weight"])


def test_compressed_twice_is_compressed_once() -> None:
    thin = built(box__head__fc_ranks=[4, 4])
    state = compressed(built().state_dict(), thin)
    again = compressed(state, thin)
    assert all(torch.equal(again[name], value) for name, value in state.items())


def test_ranks_that_no_layer_has_are_refused() -> None:
    with pytest.raises(RecipeError, match="rank 25 exceeds 24, the rank of a layer of 864 inputs and 24 outputs"):
        built(box__head__fc_ranks=[25, None])
    with pytest.raises(RecipeError, match="fc_ranks has 1 values for the 2 layers of fc; give a rank, or null, for"):
        built(box__head__fc_ranks=[8])


def test_a_detector_without_thin_layers_is_refused() -> None:
    with pytest.raises(WeightsError) as caught:
        convert_weights(built(), built().state_dict(), source="svd")
    assert str(caught.value) == (
        "source svd compresses fully connected layers, and this detector has none of low rank: build it with "
        "box.head.fc_ranks, as [1024, 256]"
    )


def test_weights_of_another_detector_are_refused() -> None:
    state = {name: value for name, value in built().state_dict().items() if name != "box.head.fc.0.weight"}
    with pytest.raises(WeightsError) as caught:
        convert_weights(built(box__head__fc_ranks=[4, 4]), state, source="svd")
    assert str(caught.value) == (
        "source svd takes the weights of the same detector with fc_ranks: null; 'box.head.fc.0.weight' is not among "
        "them"
    )
