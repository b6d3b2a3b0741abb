"""The pages of docs/zoo as Markdown: tables with little prose around them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import torchvision
from zoo_rows import IMAGES, TENSORFLOW, TENSORFLOW_MOBILE, TIMED_ON, TORCHVISION, VOC, Tensorflow, Voc  # type: ignore[import-not-found]

from detzoo.recipes.recipe import load_recipe

Measured = Mapping[str, Mapping[str, Any]]
NONE: Final = "–"
MEASURED_COLUMNS: Final = ("here: M parameters", "here: GFLOPs", "here: ms")
_WRITTEN: Final = "<!-- Written by benchmarks/zoo_tables.py; edit that. -->\n\n"
_HERE: Final = """\
The columns called *here* were measured by `benchmarks/zoo_tables.py` and are of the recipe; what stands under
*reported* is of the network that others trained, and was not measured here. GFLOPs are 10⁹ operations of the
network for one image of HEIGHTxWIDTH, multiply and add counted as two, with as many regions and boxes as the
recipe keeps. ms is the median for such an image on PROTOCOL;
– means: not measured yet. Networks without training find every class everywhere, so more boxes reach suppression
than behind trained ones: it takes three fifths of the time of `ssd_mobilenet_v1_fpn`.
"""
_TENSORFLOW: Final = """# TensorFlow's COCO table

The table of the TensorFlow Object Detection API's model zoo, with a recipe for each row. Reported are, by
[tf1_detection_zoo.md](https://github.com/tensorflow/models/blob/master/research/object_detection/g3doc/tf1_detection_zoo.md)
at 15762ae, the AP of the boxes on TensorFlow's own split of COCO 2014 (minival), rounded to whole numbers, and
ms for a 600x600 image on a Titan X with pre- and post-processing. An empty cell is empty there too.

These recipes are architectures and training plans. TensorFlow's trained weights do not load, and no AP of ours
stands behind them.
"""
_TORCHVISION: Final = """# torchvision's detection table

torchvision's builders under their own names. Reported is what the metadata of their weights (COCO_V1) say in
torchvision VERSION: AP on COCO val2017, parameters, and multiply-adds for a 512x512 image, each counted once,
with the detections of the trained network. Here they count as two operations: halve the column to compare.
Weights of all rows load (`detzoo weights import --from torchvision`) and give the same detections; the tests of
the plugins check it.
"""
_TORCHVISION_END: Final = """\
Parameters differ where torchvision has outputs that play no part (the background's box and mask), and the
arithmetic where a trained network hands on fewer regions, or finds fewer boxes to draw masks for, than the 1,000
(320: 150) and 100 that are counted here. torchvision's figures for Faster R-CNN with MobileNetV3, whose RPN has a
score threshold of 0.05, are what is left without any region: a thousand of them cost three times the rest.

## What could not be had

`keypointrcnn_resnet50_fpn`: detzoo has no keypoints, neither as a head nor in its data.
"""
_VOC: Final = """# The papers' table on VOC

AP50 on VOC 2007 test, 11-point, as papers and their authors' releases report it: one line for each number that
a recipe carries.
"""
_VOC_QUOTED: Final = "† was quoted from the paper and not read again in the source.\n"
_VOC_COST: Final = """## Time and cost

Reported times and rates are of different machines, batches and definitions (Fast R-CNN's leave the making of
regions out), which is why their column holds texts. Empty: no source at hand says it.
"""
_VOC_REGIONS: Final = """\
Regions of R-CNN, SPP-net and Fast R-CNN are drawn at random for this, 2,000 where nothing else is said: making
better ones is neither in the GFLOPs nor, for those drawn here, much of the ms. R-CNN sends each window through
the network on its own, so 2,000 windows take a hundred times what its rows say for 20.
"""


def pages(measured: Measured) -> dict[str, str]:
    """Page name -> text."""
    return {
        "README.md": _index(),
        "tensorflow.md": _tensorflow(measured),
        "torchvision.md": _torchvision(measured),
        "voc.md": _voc(measured),
    }


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; numbers to the right, texts to the left as their first row has them."""
    lines = [list(map(str, row)) for row in rows]
    rule = ["---:" if column.startswith(("here", "reported")) else "---" for column in columns]
    return "\n".join(f"| {' | '.join(line)} |" for line in [columns, rule, *lines]) + "\n"


def here(measured: Measured, recipe: str | None) -> list[str]:
    """The measured cells of a row."""
    row = measured.get(recipe or "", {})
    parameters, flops, time = row.get("parameters"), row.get("flops"), row.get("p50_ms")
    counted = NONE if flops is None else _short(flops / 1e9)
    if "windows" in row and flops is not None:
        counted += f" for {row['windows']} windows"
    return [NONE if parameters is None else f"{parameters / 1e6:.1f}", counted, NONE if time is None else _short(time)]


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _code(name: str | None) -> str:
    return NONE if name is None else f"`{name}`"


def _image(recipe: str) -> str:
    size = "x".join(map(str, IMAGES[recipe]))
    return _HERE.replace("HEIGHTxWIDTH", size).replace("PROTOCOL", TIMED_ON)


def _index() -> str:
    return _WRITTEN + (
        "# The zoo's tables\n\nThe model-zoo tables that users know, each row a recipe that builds here, what was "
        "reported beside what was measured here and never in one column with it.\n\n"
        "- [TensorFlow's COCO table](tensorflow.md)\n- [torchvision's detection table](torchvision.md)\n"
        "- [The papers' table on VOC, from R-CNN to SSD](voc.md)\n"
    )


def _tensorflow(measured: Measured) -> str:
    columns = ("TensorFlow's model", "recipe", "gives", "reported: COCO AP", "reported: ms", *MEASURED_COLUMNS)
    rows = (*TENSORFLOW, *TENSORFLOW_MOBILE)
    parts = [
        _TENSORFLOW,
        _image("fasterrcnn_resnet50_coco"),
        table(columns, (_tensorflow_row(row, measured) for row in TENSORFLOW)),
        "Mobile models, whose reported ms are of a Pixel 1:\n",
        table(columns, (_tensorflow_row(row, measured) for row in TENSORFLOW_MOBILE)),
        "The zoo's rows for Edge TPUs and DSPs are left out: they are about those devices.\n",
        "## What could not be had\n",
        table(("TensorFlow's model", "why"), ((_code(r.name), r.why_not) for r in rows if r.recipe is None)),
        _TENSORFLOW_DIFFERENCES,
    ]
    return _WRITTEN + "\n".join(parts)


def _tensorflow_row(row: Tensorflow, measured: Measured) -> list[str]:
    masks = row.recipe is not None and load_recipe(row.recipe).values.get("mask") is not None
    gives = "masks" if masks or row.name.startswith("mask") else "boxes"
    ap = "" if row.ap is None else f"{row.ap:g}"
    return [_code(row.name), _code(row.recipe), gives, ap, f"{row.ms:g}", *here(measured, row.recipe)]


_TENSORFLOW_DIFFERENCES: Final = """## Where these recipes differ from TensorFlow's

Read in the sample configurations (`samples/configs/*.config`) and in the feature extractors beside them. Kept
are: the resize (600/1024, masks 800/1365, SSD 300x300 or 640x640, NASNet 1200x1200), four scales times three
ratios on one map (64 to 512 px; at stride 16, "atrous" at stride 8), the 3x3 convolution to 512 ahead of a
softmax over object and background, 256 and 64 (NASNet: 49) sampled anchors and regions, box losses weighted 2
and a mask loss weighted 4, 300 (NASNet: 50) regions in training as in detecting, NMS at 0.7 and 0.6, the
network's own last stage as the box head, SGD with momentum 0.9 and the learning rates, clipping at norm 10.

**Backbones.** ResNet is torchvision's: its stride stands in the first block of a stage where slim's stands in
the last, and pixels are normalised as torchvision's ImageNet weights want them, where TensorFlow subtracts a
mean. Inception v2 is in neither torchvision nor timm; it is written here from its table (10,173,112 numbers, as
Huang et al. count them) and no weights for it are known. Inception-ResNet v2 and NASNet-A are timm's (extra
`detzoo[timm]`), padded and dilated as slim's detectors have them; strided layers are padded evenly where
TensorFlow's SAME puts the odd pixel right and below. Batch norms keep their statistics in training, as
TensorFlow's do.

**Pooling.** `crop_and_resize` to 14x14 and a 2x2 maximum is `roi_align` with 2x2 samples a bin and their
maximum; Inception-ResNet and NASNet take 17x17 without a maximum. The samples stand in the middle of their
bins, TensorFlow's reach from edge to edge of the region.

**First stage.** The best 6,000 anchors go into NMS, in TensorFlow all of them. The 3x3 convolution of "atrous"
models is not dilated here. Regions of the ground truth join the sampled ones.

**Low proposals.** TensorFlow's page says only that there are fewer: 20 here.

**R-FCN.** Its score maps stand on a stage 5 that is dilated by 2 (Caffe's release); TensorFlow takes the stride
out and does not dilate. 3x3 bins of 6x6 samples and a box for each class, as there.

**Masks.** The paper's head: pooled to 14x14 from the map of the first stage, convolutions, doubled to 28x28.
TensorFlow enlarges what leaves the box head's stage to 33x33 (Inception v2: 15x15) and convolves that. The
arithmetic of these rows is therefore not TensorFlow's.

**SSD.** The first map's small square is 0.2 of the image, in TensorFlow 0.1. With a pyramid, the tower that
all levels share has no batch norms, TensorFlow's has some for each level; the crop of its augmentation is our
nearest. MobileNetV2's pixels are normalised as torchvision's weights want them. MobileNetV3 stands with
torchvision's softmax, mining and training, where TensorFlow has a sigmoid for each class and focal loss.

**Training.** The configurations stop after 200,000 steps and say that this is for pets; the recipes of
two-stage detectors follow the schedule beside it (a tenth after 900,000, end at 1,200,000). 80 classes here, 90
outputs there. RMSProp's learning rate is constant, as it is for most of 800,720 steps there.
"""


def _torchvision(measured: Measured) -> str:
    columns = (
        *("builder and recipe", "reported: box AP", "reported: mask AP", "reported: M parameters"),
        *("reported: G multiply-adds", *MEASURED_COLUMNS),
    )
    parts = [
        _TORCHVISION.replace("VERSION", torchvision.__version__.partition("+")[0]),
        _image("fasterrcnn_resnet50_fpn"),
        table(columns, (_torchvision_row(name, enum, measured) for name, enum in TORCHVISION.items())),
        _TORCHVISION_END,
    ]
    return _WRITTEN + "\n".join(parts)


def _torchvision_row(name: str, enum: str, measured: Measured) -> list[str]:
    meta = getattr(torchvision.models.detection, enum).COCO_V1.meta
    metrics = meta["_metrics"]["COCO-val2017"]
    masks = metrics.get("mask_map")
    reported = [f"{metrics['box_map']:.1f}", NONE if masks is None else f"{masks:.1f}"]
    reported += [f"{meta['num_params'] / 1e6:.1f}", _short(meta["_ops"])]
    return [_code(name), *reported, *here(measured, name)]


def _voc(measured: Measured) -> str:
    columns = ("method", "recipe", "trained on, and how", "reported: VOC07 AP50", "source")
    speeds = ("method", "recipe", "reported: time or rate", "hardware and source", *MEASURED_COLUMNS)
    results = table(columns, _voc_lines())
    parts = [
        _VOC,
        *([_VOC_QUOTED] if "†" in results else []),
        results,
        _VOC_COST,
        _image("ssd300_vgg16_voc"),
        _VOC_REGIONS,
        table(speeds, (_voc_cost(row, measured) for row in VOC)),
        _VOC_DIFFERENCES,
    ]
    return _WRITTEN + "\n".join(parts)


def _voc_cost(row: Voc, measured: Measured) -> list[str]:
    return [row.label, _code(row.recipe), row.speed, row.source, *here(measured, row.recipe)]


_VOC_DIFFERENCES: Final = """## Where these recipes differ from the papers

Each recipe names what it follows (`detzoo show NAME`), and the pages of the plugins tell where it leaves it:
[R-CNN and SPP-net](../region-svm.md), [Fast and Faster R-CNN, R-FCN](../two-stage.md),
[SSD](../../plugins/detzoo-ssd/README.md), [YOLO](../../plugins/detzoo-yolo/README.md). The largest differences:
Faster R-CNN's and R-FCN's numbers above of the authors' releases are of four steps or of regions made
beforehand, while the recipes without `_4step` train jointly; CaffeNet and VGG16 start from weights that are not
shipped here.
"""


def _voc_lines() -> list[list[str]]:
    lines = []
    for row in VOC:
        for entry in load_recipe(row.recipe).values["reported"]:
            if entry["metric"] == "VOC07 AP50":
                source = entry["source"] if entry["verified"] else f"{entry['source']} †"
                lines.append([row.label, _code(row.recipe), entry["protocol"], f"{entry['value']:.1f}", source])
    return lines
