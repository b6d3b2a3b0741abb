"""Gather what a run of ``real_photographs.py`` left into docs/results: numbers, curve, an image, recipe; no weights."""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from pathlib import Path
from typing import Final

import cv2
import results_table  # type: ignore[import-not-found]
import yaml
from matplotlib.figure import Figure

import detzoo
from detzoo.comparison.plots import figure, save

LARGEST: Final = 200_000 // 3
"""Bytes of one image: three together stay under 200 KB."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--command", required=True)
    parser.add_argument("--images", type=Path, nargs="*", default=[])
    parser.add_argument("--licence", required=True, help="of the images")
    parser.add_argument("--date", required=True)
    parser.add_argument("--score", type=float, default=0.4)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    result = json.loads((args.run / "test" / "results.json").read_text())
    result["model"]["name"] = args.run.name
    (args.out / "results.json").write_text(json.dumps(result, indent=2) + "\n")
    shutil.copy(args.run / "curve.csv", args.out / "curve.csv")
    recipe = (args.run / "recipe.yaml").read_text()
    (args.out / "recipe.yaml").write_text(recipe)
    epochs = draw_curve(args.out)
    draw_images(args.run, args.out, args.images, args.score)
    told = {"command": args.command, "epochs": epochs, "minutes": round(minutes(args.run)), "date": args.date}
    (args.out / "run.json").write_text(json.dumps(told | {"licence": args.licence}, indent=1) + "\n")
    results_table.main()


def minutes(run: Path) -> float:
    """Minutes of training, from images and images per second of every logged step."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    recipes = yaml.safe_load((run / "recipe.yaml").read_text())["detectors"]
    batch = next(iter(recipes.values()))["train"]["batch"]
    seconds: float = sum(batch / line["images_per_second"] for line in lines if line.get("images_per_second"))
    return seconds / 60


def draw_curve(out: Path) -> int:
    rows = list(csv.DictReader((out / "curve.csv").open()))
    series = {
        name: [(float(row["epoch"]), 100 * float(row[name])) for row in rows if row[name]] for name in ("AP", "AP50")
    }
    if len(series["AP"]) > 1:
        save(learning_figure(series, ylabel="test AP, AP50 %"), out / "curve.png")
    else:  # the detector is only there once SVMs and boxes are fitted: what there is to see is the loss before
        losses = {"fine-tuning": [(float(row["epoch"]), float(row["loss"])) for row in rows if row["loss"]]}
        save(learning_figure(losses, ylabel="loss"), out / "curve.png")
    return sum(bool(row["loss"]) for row in rows)  # a last row without is what SVMs and boxes made of it


def learning_figure(series: dict[str, list[tuple[float, float]]], *, ylabel: str) -> Figure:
    """One line of (epoch, value) per name."""
    made, axes = figure()
    for name, points in series.items():
        axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=name)
    axes.set(xlabel="epoch", ylabel=ylabel)
    axes.legend(fontsize=7)
    return made


def draw_images(run: Path, out: Path, images: list[Path], score: float) -> None:
    detector = detzoo.load(run / "last.safetensors")
    for path in images:
        (found,) = detector.predict([path], score_threshold=score)
        drawn = cv2.cvtColor(found.draw(path), cv2.COLOR_RGB2BGR)
        for quality in (90, 80, 70, 60, 50):
            data = cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
            if len(data) <= LARGEST:
                break
        (out / path.with_suffix(".jpg").name).write_bytes(data)


if __name__ == "__main__":
    main()
