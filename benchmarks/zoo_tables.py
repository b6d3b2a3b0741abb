"""The model-zoo tables of docs/zoo: TensorFlow's, torchvision's and that of the papers on VOC, each row a recipe.

Reported numbers come from the recipes and from the sources named below; what is measured here is kept in
docs/zoo/measured.json, row by row, so that a run that was stopped goes on where it stopped:

    python benchmarks/zoo_tables.py                    # parameters and arithmetic of new rows, then the pages
    python benchmarks/zoo_tables.py --speed            # and the time of an image, where it is not there yet
    python benchmarks/zoo_tables.py --only NAME NAME   # these rows, again
    python benchmarks/zoo_tables.py --pages            # the pages alone, from what was measured

The networks are untrained: arithmetic does not depend on weights where as many regions and boxes are kept as a recipe
allows, for which the score threshold is 0 and regions are anchors. Needs the extra detzoo[timm].
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
from pathlib import Path
from typing import Any, Final

import torch
from zoo_rows import IMAGES, TIMED_ON, WINDOWS  # type: ignore[import-not-found]
from zoo_text import pages  # type: ignore[import-not-found]

from detzoo.benchmark import TimingOptions, benchmark
from detzoo.benchmark.cost import count_flops, count_parameters
from detzoo.builder import build
from detzoo.detectors.two_stage import TwoStage
from detzoo.errors import DetzooError
from detzoo.prediction.apply_switches import noise
from detzoo.prediction.predict import inference, prepared
from detzoo.recipes.recipe import load_recipe
from detzoo.types import DetectionSettings

OUT: Final = Path(__file__).parents[1] / "docs" / "zoo"
MEASURED: Final = OUT / "measured.json"
REGIONS: Final = 2000
"""Of any kind, where a recipe wants a file of them: the arithmetic is that behind as many of selective search's."""

LARGE: Final = 1.1e12
"""Operations above which a round takes a quarter of a minute, and three must do."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speed", action="store_true", help="time rows that were not timed yet")
    parser.add_argument("--pages", action="store_true", help="measure nothing")
    parser.add_argument("--only", nargs="+", metavar="RECIPE", help="measure these again")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if not args.pages:
        for name in args.only or IMAGES:
            measure(name, again=args.only is not None, speed=args.speed)
    write_pages()


def measure(name: str, *, again: bool, speed: bool) -> None:
    """Measure one row and keep it at once; a recipe that changed since is measured again."""
    known = read()
    digest = fingerprint(name)
    row = known.get(name, {})
    if again or row.get("recipe") != digest:
        row = {"recipe": digest, "image": list(IMAGES[name])}
    if row.get("flops") is None and "why_no_flops" not in row:
        print(f"{name}: parameters and arithmetic", flush=True)
        row |= costs(name)
        keep(name, row)
    if speed and "p50_ms" not in row:
        print(f"{name}: time", flush=True)
        row |= times(name)
        keep(name, row)
    gc.collect()


def fingerprint(name: str) -> str:
    """Of what a recipe builds; its texts and its training do not count."""
    values = {k: v for k, v in load_recipe(name).values.items() if k not in ("reported", "summary", "paper", "train")}
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:12]


def built(name: str) -> Any:
    """The detector, untrained, with regions at hand where the recipe wants a file of them."""
    proposals = load_recipe(name).values.get("proposals") or {}
    wants_file = (proposals.get("proposer") or {}).get("type") == "precomputed"
    drawn = f"proposals.proposer={{type: uniform, count: {WINDOWS.get(name, REGIONS)}}}"
    detector = build(name, weights=None, overrides=[drawn] if wants_file else []).eval()
    if hasattr(getattr(detector, "proposals", None), "head"):
        spread_regions(detector)
    return detector


@torch.no_grad()
def spread_regions(detector: Any) -> None:
    """Make untrained stages hand on anchors as they are: deep networks without weights send all of them astray."""
    stages = [getattr(stage.head, "predictor", stage.head) for stage in detector.box_stages.values()]
    for head in (detector.proposals.head, *stages):
        head.classification.weight.zero_()
        head.regression.weight.zero_()


def costs(name: str) -> dict[str, Any]:
    """Parameters, and arithmetic of one image; multiply and add are two operations."""
    detector = built(name)
    row: dict[str, Any] = {"parameters": count_parameters(detector), "flops": None}
    if name in WINDOWS:
        row["windows"] = WINDOWS[name]
    try:
        with inference(detector):
            one = prepared(detector, noise(1, IMAGES[name]))
            row["network"] = list(one.pixels.shape[-2:])
            if isinstance(detector, TwoStage):  # what the second stage gets, so that the file can be checked
                detector.box.head.register_forward_hook(
                    lambda _, given, answer: row.update(regions=int(given[2].valid.sum()))
                )
            row["flops"] = count_flops(lambda: detector.detect(one, DetectionSettings(score_threshold=0.0)))
    except DetzooError as error:
        row["why_no_flops"] = str(error)
    return row


def times(name: str) -> dict[str, Any]:
    """Time of one image of noise, from decoded pixels to detections, at the recipe's own score threshold."""
    rounds = 3 if (read()[name]["flops"] or 0) > LARGE else 20
    # R-CNN is timed on as few windows as it is counted on
    result = benchmark(
        built(name), TimingOptions(device="cpu", size=IMAGES[name], iterations=rounds, warmup=1, max_seconds=20)
    )
    total = result.latency_ms["total"]
    return {"p50_ms": total["p50"], "p95_ms": total["p95"], "protocol": result.protocol, "timed_on": TIMED_ON}


def read() -> dict[str, Any]:
    """What was measured so far."""
    found: dict[str, Any] = json.loads(MEASURED.read_text(encoding="utf-8")) if MEASURED.exists() else {}
    return found


def keep(name: str, row: dict[str, Any]) -> None:
    """Add a row to the file, which is replaced whole or not at all."""
    OUT.mkdir(parents=True, exist_ok=True)
    rows = dict(sorted((read() | {name: row}).items()))
    part = MEASURED.with_suffix(".part")
    part.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    os.replace(part, MEASURED)


def write_pages() -> None:
    """All pages, from recipes and measurements."""
    OUT.mkdir(parents=True, exist_ok=True)
    for name, text in pages(read()).items():
        (OUT / name).write_text(text, encoding="utf-8")
        print(f"written: {OUT / name}")


if __name__ == "__main__":
    main()
