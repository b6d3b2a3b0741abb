"""pycocotools and faster-coco-eval give the same numbers to the last bit, on generated cases of every kind."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from detzoo.evaluation.coco_map import coco_map
from tests.evaluation.generated_cases import FEATURES, case

pytest.importorskip("faster_coco_eval")
CASES = 200


def differences(seed: int, iou_type: Any) -> list[str]:
    """Names of what differs, bit for bit (an unknown number, NaN, equals itself)."""
    truth, rows, _ = case(seed)
    slow, fast = (coco_map(rows, truth, iou_type=iou_type, engine=engine) for engine in ("pycocotools", "faster"))
    found = [name for name in slow.metrics if repr(slow.metrics[name]) != repr(fast.metrics[name])]
    found += [] if repr(slow.per_class) == repr(fast.per_class) else ["per_class"]
    arrays = ("precision", "scores")
    return found + [name for name in arrays if getattr(slow, name).tobytes() != getattr(fast, name).tobytes()]


def kinds(seed: int) -> tuple[str, ...]:
    return ("bbox", "segm") if "masks" in case(seed)[2] else ("bbox",)


@pytest.mark.parametrize("seed", range(8))
def test_both_engines_agree_to_the_last_bit(seed: int) -> None:
    assert {kind: differences(seed, kind) for kind in kinds(seed)} == {kind: [] for kind in kinds(seed)}


@pytest.mark.slow
def test_both_engines_agree_on_200_cases() -> None:
    features: Counter[str] = Counter()
    for seed in range(CASES):
        features.update(case(seed)[2])
        for kind in kinds(seed):
            assert differences(seed, kind) == [], f"case {seed}, {kind}"
    assert min(features[name] for name in FEATURES) >= CASES // 3
