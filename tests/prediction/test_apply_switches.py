"""Compiled for inference: the same detections, and nothing else of the process is touched."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import detzoo
from detzoo.prediction.apply_switches import apply_switches, example_batch, frozen, noise
from detzoo.runtime.switches import Switches


def weighty(detector: nn.Module) -> None:
    """Weights and statistics that are no layer's start, and scores on both sides of the threshold."""
    torch.manual_seed(0)
    for value in [*detector.parameters(), *detector.buffers()]:
        if value.is_floating_point() and value.dim() > 0:
            value.data += 0.02 * torch.randn_like(value).abs()


@pytest.mark.slow
def test_compiled_with_fixed_weights_it_detects_the_same_in_batches_of_two_sizes() -> None:
    plain = detzoo.build("yolox_nano_coco", num_classes=3, overrides={"input.size": [96, 128]}, weights=None).eval()
    weighty(plain)
    compiled = copy.deepcopy(plain)
    names = list(compiled.state_dict())
    assert apply_switches(compiled, Switches(compile=True)).compile
    assert list(compiled.state_dict()) == names
    for count in (2, 1):
        images = noise(count, (96, 128))
        for ours, other in zip(
            plain.predict(images, channels="rgb", score_threshold=0.0),
            compiled.predict(images, channels="rgb", score_threshold=0.0),
            strict=True,
        ):
            assert len(ours) == len(other) > 0
            torch.testing.assert_close(torch.as_tensor(other.scores), torch.as_tensor(ours.scores), rtol=0, atol=1e-5)
            torch.testing.assert_close(torch.as_tensor(other.boxes), torch.as_tensor(ours.boxes), rtol=0, atol=1e-2)


@pytest.mark.slow
def test_two_detectors_of_one_architecture_keep_their_own_weights() -> None:
    one, other = nn.Sequential(nn.Conv2d(3, 4, 3)), nn.Sequential(nn.Conv2d(3, 4, 3))
    image = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        expected = one(image), other(image)
        runs = frozen(one.forward), frozen(other.forward)
        for _ in range(2):
            for run, own in zip(runs, expected, strict=True):
                torch.testing.assert_close(run(image), own)


class Interrupted(nn.Sequential):
    """Its forward pass is no single graph."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self[0](x)
        torch._dynamo.graph_break()
        out: torch.Tensor = self[1](x)
        return out


@pytest.mark.slow
def test_what_is_no_single_graph_keeps_its_own_weights_too() -> None:
    one, other = (Interrupted(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)) for _ in range(2))
    image = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        expected = one(image), other(image)
        runs = frozen(one.forward), frozen(other.forward)
        for _ in range(2):
            for run, own in zip(runs, expected, strict=True):
                torch.testing.assert_close(run(image), own)


@pytest.mark.slow
def test_two_compiled_detectors_of_one_recipe_keep_their_own_weights() -> None:
    plain = [
        detzoo.build("yolox_nano_coco", num_classes=3, overrides={"input.size": [96, 128]}, weights=None).eval()
        for _ in range(2)
    ]
    compiled = [copy.deepcopy(one) for one in plain]
    for one in compiled:
        apply_switches(one, Switches(fold=True, compile=True))
    batch = example_batch(plain[0])
    with torch.inference_mode():
        for _ in range(2):
            for one, other in zip(plain, compiled, strict=True):
                expected, found = one.network(batch)[1], other.network(batch)[1]
                torch.testing.assert_close(found.class_logits, expected.class_logits, rtol=1e-4, atol=1e-4)
                torch.testing.assert_close(found.deltas, expected.deltas, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_what_else_is_compiled_in_the_process_still_sees_its_weights_change() -> None:
    ours, other = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
    run = frozen(ours.forward)
    other.compile()
    image = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        before, plain = run(image), other(image)
        ours.weight.zero_()
        other.weight.zero_()
        assert torch.equal(run(image), before)  # its weights are constants
        assert not torch.equal(other(image), plain)
        assert other(image).std(dim=(2, 3)).max() < 1e-6
    assert not torch._inductor.config.freezing
