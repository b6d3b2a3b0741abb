"""Why ssdlite_mobilenet_v2 learns slowly on a small dataset: one thing changed at a time, same short training.

    python benchmarks/ssdlite_ablation.py --out docs/results/ssdlite-ablation.json [--epochs 6]

bccd, trained on trainval, evaluated on test with pycocotools; 320 x 320, from the ImageNet weights in ``../shared``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

import detzoo

BACKBONE: Final = "../shared/weights/mobilenet_v2-imagenet/mobilenet_v2_tf2ptq_dequant.pth"
PRETRAINED: Final = (f"backbone.weights={BACKBONE}", "backbone.padding=keras")
DATA: Final = "../shared/data/bccd"
SMALL: Final = "head.anchors.sizes=[[0.08, 0.14], [0.2, 0.28], [0.35], [0.5], [0.65], [0.8]]"
FULL: Final = ("head.predictors=[conv3x3]", "head.norm=none", "head.init=xavier")
VARIANTS: Final[dict[str, tuple[str, ...]]] = {
    "as published": (),
    "full 3x3 predictors": FULL,
    "batch norm follows faster (momentum 0.1)": ("head.norm_momentum=0.1", "neck.norm_momentum=0.1"),
    "predictors without batch norm": ("head.norm=none",),
    "smaller priors": (SMALL, "head.anchors.max_sizes=null"),
    "smaller priors, full predictors": (SMALL, "head.anchors.max_sizes=null", *FULL),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--only", nargs="*", choices=list(VARIANTS), default=list(VARIANTS))
    args = parser.parse_args()
    rows: list[dict[str, Any]] = json.loads(args.out.read_text()) if args.out.exists() else []
    for name in args.only:
        if not any(row["variant"] == name and row["epochs"] == args.epochs for row in rows):
            rows.append(measure(name, args.epochs))
            args.out.write_text(json.dumps(rows, indent=1) + "\n")
            print(rows[-1], flush=True)


def measure(name: str, epochs: int) -> dict[str, Any]:
    dataset, test = detzoo.open_dataset(DATA, "trainval"), detzoo.open_dataset(DATA, "test")
    detector = detzoo.build(
        "ssdlite_mobilenet_v2",
        classes=dataset.classes,
        overrides=[*PRETRAINED, *VARIANTS[name]],
    )
    folder = Path(tempfile.mkdtemp())
    detzoo.train(detector, dataset, folder / "run", epochs=epochs, channels_last=True, progress=False)
    log = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]
    result = detzoo.evaluate(detzoo.load(folder / "run"), test, progress=False)
    shutil.rmtree(folder)
    return {
        "variant": name,
        "set": list(VARIANTS[name]),
        "epochs": epochs,
        "loss": round(sum(line["loss"] for line in log[-20:]) / 20, 3),
        "AP": round(result.metrics["AP"], 4),
        "AP50": round(result.metrics["AP50"], 4),
        "AP50 by class": {c: round(v["AP50"], 4) for c, v in result.per_class.items()},
    }


if __name__ == "__main__":
    main()
