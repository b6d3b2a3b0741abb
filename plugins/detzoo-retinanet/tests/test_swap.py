"""Each of the six kinds is replaced from YAML alone; the result trains and predicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from detzoo.builder import build
from detzoo.data import open_dataset
from detzoo.interfaces import Detector
from detzoo.prediction.prepare import collate
from detzoo.recipes.recipe import load_recipe

FILE = Path(__file__).parent / "swaps.yaml"
REPLACED = {
    "backbone": "squeezenet1_1",
    "neck": "unet",
    "head": "fcos",
    "matcher": "ssd_bipartite",
    "loss": "multibox",
    "postprocess": "top_k",
}
DEFAULT = ("head", "loss", "postprocess")
"""What is trained by default; a step of every combination of the others is tested by tests/matrix."""
STEPS, BATCH = 12, 2


@pytest.mark.parametrize("kind", REPLACED)
def test_resolved_recipes_differ_in_that_key_only(kind: str) -> None:
    base, swapped = load_recipe(f"{FILE}#base").values, load_recipe(f"{FILE}#{kind}").values
    assert [key for key in base if base[key] != swapped[key]] == [kind]
    assert swapped[kind]["type"] == REPLACED[kind]


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=[] if kind in DEFAULT else [pytest.mark.slow]) for kind in (*REPLACED, "atss_on_fcos")],
)
def test_swapped_detector_learns_and_predicts(kind: str) -> None:
    torch.manual_seed(0)
    detector = build(f"{FILE}#{kind}").train()
    history = trained(detector)
    assert np.mean(history[-5:]) < 0.8 * np.mean(history[:3]), history
    image = open_dataset("shapes", "val").sample(0).image
    assert len(detector.eval().predict([image], score_threshold=0.0, channels="rgb")[0]) > 0


def test_task_alignment_rises() -> None:
    """TOOD's matcher and loss on FCOS's head: soft targets grow with the predictions, so the loss need not fall."""
    torch.manual_seed(0)
    detector = build(f"{FILE}#tood").train()
    samples = [open_dataset("shapes", "train").sample(place) for place in range(BATCH)]
    batch, targets = collate(samples, detector.input)

    def alignment() -> float:
        with torch.no_grad():
            places, said = detector.network(batch)
            found = detector.matcher(places, targets, said)  # type: ignore[operator]
        return float(found.quality.sum())

    before = alignment()
    history = trained(detector)
    assert np.isfinite(history).all()
    assert alignment() > 1.5 * before


def trained(detector: Detector) -> list[float]:
    """The loss of a few steps on the same images."""
    dataset = open_dataset("shapes", "train")
    batch = collate([dataset.sample(place) for place in range(BATCH)], detector.input)
    optimizer = torch.optim.AdamW(detector.parameters(), lr=2e-3)
    history = []
    for _ in range(STEPS):
        losses = detector.losses(*batch)
        total = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        torch.autograd.backward(total)
        optimizer.step()
        history.append(total.item())
    return history
