"""RTMDet of detzoo-rtmdet against mmdetection's own code: outputs, matches, losses, gradients and detections.

    python -m pip install --no-deps --target FOLDER mmdet==3.3.0 mmengine==0.10.5 mmcv-lite==2.1.0 \
        addict yapf termcolor six shapely terminaltables
    PYTHONPATH=FOLDER python benchmarks/rtmdet_against_mmdet.py [--detectors tiny s m l] [--out FILE]

Both sides have the same seeded weights, carried over by the converter, and compute in float64. Of mmdetection
everything runs as it is released, by its own configs, but for two things. mmcv's compiled operators: mmcv-lite has
none, so they are empty, and suppression is torchvision's. And types: where its head and its assigner write float32,
they get float64. Scenes: crowded and empty images, no object at all, objects of one pixel, 300 objects. Nothing is
timed. Exit code 1 where a figure exceeds its bound.

L is not among the defaults: its outputs are equal too, but with these random weights thousands of its scores are 1,
whose order is not settled, and its detections did not come in the same order.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.abc
import importlib.machinery
import json
import math
import sys
import types
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import torch
import torchvision
from torch import Tensor

from detzoo import build
from detzoo.detectors.one_stage import OneStage
from detzoo.interfaces import Detector
from detzoo.testing import image_batch, targets
from detzoo.types import ImageBatch, Targets
from detzoo_rtmdet.converters import from_mmdet

SIZE: Final = (128, 160)  # px; 420 points
Box = tuple[float, float, float, float]
BOUNDS: Final = {
    "outputs": 1e-10,  # of their largest
    "matches that differ": 0,
    "losses": 1e-6,  # relative: ours keeps IoUs in float32
    "gradients": 1e-6,
    "detections": 1e-9,  # px and scores
}


class EmptyOperators(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """``mmcv.ops`` and what lies below it: modules in which every name is an empty class."""

    class Module(types.ModuleType):
        """Of the names that are asked for."""

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return type(name, (), {})

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        """A module for names of mmcv's operators; others find them elsewhere."""
        ours = name == "mmcv.ops" or name.startswith("mmcv.ops.")
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if ours else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """Empty."""
        return self.Module(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing is run."""


class DoubleTorch(types.ModuleType):
    """torch, in which float32 is float64."""

    def __getattr__(self, name: str) -> Any:
        return torch.float64 if name in ("float", "float32") else getattr(torch, name)


def main() -> None:
    args = arguments()
    torch.set_num_threads(1)
    sys.meta_path.insert(0, EmptyOperators())
    import_module("mmdet.models.dense_heads.base_dense_head").batched_nms = suppressed  # type: ignore[attr-defined]
    for name in ("dense_heads.rtmdet_head", "task_modules.assigners.dynamic_soft_label_assigner"):
        import_module(f"mmdet.models.{name}").torch = DoubleTorch("torch")  # type: ignore[attr-defined]
    rows = [compared(name) for name in args.detectors]
    report(rows, BOUNDS, args.out)


def report(rows: list[dict[str, Any]], bounds: dict[str, float], out: Path | None) -> None:
    """Print the figures, write them, and leave with 1 where one exceeds its bound."""
    versions = {name: import_module(name).__version__ for name in ("mmdet", "mmengine", "mmcv", "torch")}
    text = json.dumps({"versions": versions, "size": SIZE, "bounds": bounds, "rows": rows}, indent=1)
    print(text)
    if out is not None:
        out.write_text(text + "\n")
    missed = [(row["detector"], key) for row in rows for key, bound in bounds.items() if row[key] > bound]
    if missed:
        sys.exit(f"beyond their bounds: {missed}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--detectors", nargs="+", default=["tiny", "s", "m"], choices=["tiny", "s", "m", "l"])
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def compared(size: str) -> dict[str, Any]:
    """All figures of one network: the largest over the scenes."""
    theirs = released(size)
    ours = build(f"rtmdet_{size}_coco", weights=None)
    assert isinstance(ours, OneStage)
    ours.double().load_state_dict(from_mmdet(theirs.state_dict(), ours))
    noise = image_batch(size=SIZE)
    batch = dataclasses.replace(noise, pixels=noise.pixels.double())
    row: dict[str, Any] = {"detector": f"rtmdet_{size}_coco", "parameters": sum(p.numel() for p in ours.parameters())}
    assert row["parameters"] == sum(p.numel() for p in theirs.parameters())
    row["outputs"] = outputs(ours.eval(), theirs.eval(), batch)
    row |= {"matches that differ": 0, "positives": 0, "losses": 0.0, "gradients": 0.0}
    ours.train()
    theirs.train()
    for scene in scenes():
        found = trained(ours, theirs, batch, scene)
        for key in ("losses", "gradients"):
            row[key] = max(row[key], found[key])
        for key in ("matches that differ", "positives"):
            row[key] += found[key]
    row |= detections(ours.eval(), theirs.eval(), batch)
    return row


def released(size: str) -> Any:
    """mmdetection's network by its own config, with weights that make every part count."""
    config_of = import_module("mmengine.config").Config
    import_module("mmengine.registry").init_default_scope("mmdet")
    import_module("mmdet.models")
    root = Path(import_module("mmdet").__file__ or "").parent
    config = config_of.fromfile(root / ".mim" / "configs" / "rtmdet" / f"rtmdet_{size}_8xb32-300e_coco.py")
    config.model.backbone.pop("init_cfg", None)  # a download
    model = import_module("mmdet.registry").MODELS.build(config.model)
    points = model.bbox_head.prior_generator
    points.grid_priors = partial(points.grid_priors, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                value.copy_(drawn(name, value, generator))
    return calibrated(model.double())


def calibrated(model: Any) -> Any:
    """Give all norms the statistics of noise, so that what passes through keeps its scale and no score saturates."""
    norms = [one for one in model.modules() if isinstance(one, torch.nn.modules.batchnorm._BatchNorm)]
    momentum = norms[0].momentum
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches, of which there is one
    with torch.no_grad():
        model.train().bbox_head(model.extract_feat(image_batch(size=SIZE).pixels.double()))
    for norm in norms:
        norm.momentum = momentum
    return model


def drawn(name: str, like: Tensor, generator: torch.Generator) -> Tensor:
    """Weights that keep the scale of what passes through; scores around 0.1, distances of some strides."""
    if like.ndim > 1:
        narrow = 0.3 if "rtm_" in name else 1.6
        return torch.randn(like.shape, generator=generator) * (narrow / math.sqrt(like[0].numel()))
    if name.endswith(("running_var", "bn.weight")):
        return 0.5 + torch.rand(like.shape, generator=generator)
    shift = -2.0 if "rtm_cls" in name else 1.2 if "rtm_reg" in name else 0.0
    return 0.1 * torch.randn(like.shape, generator=generator) + shift


def scenes() -> list[Targets]:
    """Ground truth of two images each."""
    generator = torch.Generator().manual_seed(1)

    def objects(count: int, largest: float) -> list[Box]:
        corner = torch.rand(count, 2, generator=generator) * torch.tensor([SIZE[1] - 4.0, SIZE[0] - 4.0])
        sides = 2 + largest * torch.rand(count, 2, generator=generator)
        boxes = torch.cat([corner, (corner + sides).minimum(torch.tensor([SIZE[1], SIZE[0]]))], 1)
        return [(x1, y1, x2, y2) for x1, y1, x2, y2 in ((boxes * 4).round() / 4).tolist()]

    pixels: list[Box] = [(8.5, 8.5, 9.5, 9.5), (31.5, 63.5, 32.5, 64.5), (100.0, 100.0, 101.0, 101.0)]
    every: list[list[list[Box]]] = [
        [objects(12, 150), objects(3, 60)],
        [objects(8, 200), []],
        [[], []],
        [pixels, [*pixels[:2], (16, 16, 90, 90)]],
        [objects(300, 40), objects(5, 250)],
    ]
    return [
        targets(boxes, [[row % 80 for row in range(len(one))] for one in boxes], size=SIZE, padded=304)
        for boxes in every
    ]


def outputs(ours: OneStage, theirs: Any, batch: ImageBatch) -> float:
    """Largest difference of class logits and of distances in px, over the largest of them."""
    with torch.no_grad():
        cells, found = ours.network(batch)
        logits, distances = theirs.bbox_head(theirs.extract_feat(batch.pixels))
    assert found.class_logits is not None
    px = found.deltas[:, :, 0] * cells.strides()[:, None]
    pairs = ((found.class_logits, rows_of(logits)), (px, rows_of(distances)))
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


def rows_of(maps: Any) -> Tensor:
    """Maps [B,C,h,w] of all levels as rows [B,N,C]."""
    return torch.cat([one.permute(0, 2, 3, 1).flatten(1, 2) for one in maps], 1)


def trained(ours: OneStage, theirs: Any, batch: ImageBatch, truth: Targets) -> dict[str, Any]:
    """Matches, losses and gradients of one scene, with the statistics of the batch in every norm."""
    cells, found = ours.network(batch)
    assignment = ours.matcher(cells, truth, found)
    terms = ours.loss(found, cells, truth, assignment)
    instances = [theirs_of(truth, image) for image in range(2)]
    meta = {"img_shape": SIZE, "pad_shape": SIZE}
    logits, distances = theirs.bbox_head(theirs.extract_feat(batch.pixels))
    matched = theirs_matches(theirs.bbox_head, logits, distances, instances, meta)
    lost = theirs.bbox_head.loss_by_feat(logits, distances, instances, [meta, meta])
    pairs = ((terms["classification"], sum(lost["loss_cls"])), (terms["box"], sum(lost["loss_bbox"])))
    return {
        "matches that differ": int((matched != assignment.index).sum()),
        "positives": int(assignment.positive.sum()),
        "losses": max(
            float((a - b).abs() / b.abs().clamp(min=1e-12)) if float(b) else float(a.abs()) for a, b in pairs
        ),
        "gradients": gradients(ours, theirs, *map(sum, zip(*pairs, strict=True))),  # type: ignore[arg-type]
    }


def theirs_of(truth: Targets, image: int) -> Any:
    instance = import_module("mmengine.structures").InstanceData
    rows = truth.usable[image]
    return instance(bboxes=truth.boxes[image][rows].double(), labels=truth.labels[image][rows])


def theirs_matches(head: Any, logits: Any, distances: Any, instances: list[Any], meta: Any) -> Tensor:
    """int64 [B,N]: the ground truth of each point, -1 for none, by mmdetection's assigner."""
    decode = import_module("mmdet.structures.bbox").distance2bbox
    instance = import_module("mmengine.structures").InstanceData
    sizes = [one.shape[-2:] for one in logits]
    points = torch.cat(head.get_anchors(sizes, [meta], device="cpu")[0][0])
    boxes, scores = decode(points, rows_of(distances).detach()), rows_of(logits).detach()
    found = []
    for image, truth in enumerate(instances):
        seen = instance(bboxes=boxes[image], scores=scores[image], priors=points)
        found.append(head.assigner.assign(seen, truth).gt_inds - 1)
    return torch.stack(found)


def gradients(ours: Detector, theirs: Any, our_loss: Tensor, their_loss: Tensor) -> float:
    """Largest difference of a gradient over the largest of its tensor; all parameters."""
    ours.zero_grad()
    theirs.zero_grad()
    our_loss.backward()  # type: ignore[no-untyped-call]
    their_loss.backward()  # type: ignore[no-untyped-call]
    named = {name: parameter.grad for name, parameter in theirs.named_parameters(remove_duplicate=False)}
    state = {name: named.get(name, value) for name, value in theirs.state_dict().items()}
    state = {name: torch.zeros_like(theirs.state_dict()[name]) if v is None else v for name, v in state.items()}
    moved = from_mmdet(state, ours)
    worst = 0.0
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None
        largest = float(moved[name].abs().max())
        worst = max(worst, float((parameter.grad - moved[name]).abs().max()) / max(largest, 1e-9))
    return worst


def detections(ours: OneStage, theirs: Any, batch: ImageBatch) -> dict[str, Any]:
    """Largest difference in px and scores of what is reported."""
    meta = {"img_shape": SIZE, "pad_shape": SIZE, "scale_factor": (1.0, 1.0)}
    with torch.no_grad():
        found = ours.detect(batch)
        answer = theirs.bbox_head(theirs.extract_feat(batch.pixels))
        expected = theirs.bbox_head.predict_by_feat(*answer, batch_img_metas=[meta, meta], rescale=False)
    worst, count = 0.0, 0
    for image, one in enumerate(expected):
        valid = found.valid[image]
        assert int(valid.sum()) == len(one.scores), (int(valid.sum()), len(one.scores))
        assert found.labels[image][valid].tolist() == one.labels.tolist()
        worst = max(worst, float((found.boxes[image][valid] - one.bboxes).abs().max()))
        worst = max(worst, float((found.scores[image][valid] - one.scores).abs().max()))
        count += len(one.scores)
    return {"detections": worst, "number of detections": count}


def suppressed(boxes: Tensor, scores: Tensor, labels: Tensor, config: Any, *_: Any) -> tuple[Tensor, Tensor]:
    """In place of mmcv's ``batched_nms``: boxes with their scores, and the rows that were kept, best first."""
    kept = torchvision.ops.batched_nms(boxes, scores, labels, config["iou_threshold"])
    return torch.cat([boxes[kept], scores[kept, None]], 1), kept


if __name__ == "__main__":
    main()
