"""YOLOX of detzoo-yolox against mmdetection's own modules: names, outputs, decoded boxes and detections.

    python -m pip install --no-deps --target FOLDER mmdet==3.3.0 mmengine==0.10.5 mmcv-lite==2.1.0 \
        addict yapf termcolor six shapely terminaltables
    PYTHONPATH=FOLDER python benchmarks/yolox_against_mmdet.py [--detectors nano tiny s m] [--out FILE]

Both sides have the same seeded weights, carried over by the converter, and compute in float64; mmdetection's networks
are made from its own configs, with the stubs of ``rtmdet_against_mmdet.py``. As mmdetection, detzoo reports one class
of each cell here. Matches and losses are not compared. Nothing is timed. Exit code 1 where a figure exceeds its bound.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import torch
from rtmdet_against_mmdet import (  # type: ignore[import-not-found]
    SIZE,
    EmptyOperators,
    calibrated,
    drawn,
    report,
    rows_of,
    suppressed,
)
from torch import Tensor

from detzoo import build
from detzoo.detectors.one_stage import OneStage
from detzoo.testing import image_batch
from detzoo.types import ImageBatch
from detzoo_yolox.converters import from_mmdet

BOUNDS: Final = {"outputs": 1e-10, "boxes": 1e-8, "detections": 1e-8}
"""Of the largest output; px; px and scores."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--detectors", nargs="+", default=["nano", "tiny", "s"], choices=["nano", "tiny", "s", "m"])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    sys.meta_path.insert(0, EmptyOperators())
    import_module("mmdet.models.dense_heads.yolox_head").batched_nms = suppressed  # type: ignore[attr-defined]
    rows = [compared(name) for name in args.detectors]
    report(rows, BOUNDS, args.out)


def compared(size: str) -> dict[str, Any]:
    """All figures of one network."""
    theirs, name = released(size), f"yolox_{size}_coco"
    ours = build(name, weights=None, overrides=["postprocess.one_class_each=true"])
    assert isinstance(ours, OneStage)
    ours.double().load_state_dict(from_mmdet(theirs.state_dict(), ours))
    noise = image_batch(size=SIZE)
    batch = dataclasses.replace(noise, pixels=noise.pixels.double())
    parameters = sum(p.numel() for p in ours.parameters())
    assert parameters == sum(p.numel() for p in theirs.parameters())
    with torch.no_grad():
        figures = differences(ours.eval(), theirs.eval(), batch)
    return {"detector": name, "tensors": len(theirs.state_dict()), "parameters": parameters, **figures}


def released(size: str) -> Any:
    """mmdetection's network by its own config, with weights that make every part count."""
    config_of = import_module("mmengine.config").Config
    import_module("mmengine.registry").init_default_scope("mmdet")
    import_module("mmdet.models")
    root = Path(import_module("mmdet").__file__ or "").parent
    config = config_of.fromfile(root / ".mim" / "configs" / "yolox" / f"yolox_{size}_8xb8-300e_coco.py")
    config.model.data_preprocessor = None  # its stubs have no augmentation of batches
    model = import_module("mmdet.registry").MODELS.build(config.model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                value.copy_(drawn(name, value, generator))
    return calibrated(model.double())


def differences(ours: OneStage, theirs: Any, batch: ImageBatch) -> dict[str, Any]:
    """Outputs over their largest, decoded boxes in px, and what is reported in px and scores."""
    cells, found = ours.network(batch)
    answer = theirs.bbox_head(theirs.extract_feat(batch.pixels))
    logits, deltas, objectness = (rows_of(maps) for maps in answer)
    assert found.class_logits is not None
    assert found.quality_logits is not None
    pairs = (
        (found.class_logits, logits),
        (found.deltas[:, :, 0], deltas),
        (found.quality_logits, objectness[..., 0]),
    )
    sizes = [one.shape[-2:] for one in answer[0]]
    points = theirs.bbox_head.prior_generator.grid_priors(sizes, dtype=torch.float64, device="cpu", with_stride=True)
    boxes = theirs.bbox_head._bbox_decode(torch.cat(points), deltas)
    assert cells.coder is not None
    decoded = cells.coder.decode(found.deltas, cells.boxes[:, :, None], cells.strides()[:, None])[:, :, 0]
    return {
        "outputs": max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs),
        "boxes": float((decoded - boxes).abs().max()),
        **detections(ours, theirs, batch, answer),
    }


def detections(ours: OneStage, theirs: Any, batch: ImageBatch, answer: tuple[list[Tensor], ...]) -> dict[str, Any]:
    """Largest difference in px and scores of what is reported; their boxes are not cut to the image."""
    meta = {"img_shape": SIZE, "pad_shape": SIZE, "scale_factor": (1.0, 1.0)}
    expected = theirs.bbox_head.predict_by_feat(*answer, batch_img_metas=[meta, meta], rescale=False)
    found, most = ours.detect(batch), ours.postprocess.settings.keep
    assert most is not None
    worst, count = 0.0, 0
    for image, one in enumerate(expected):
        valid = found.valid[image]
        kept = min(len(one.scores), most)
        assert int(valid.sum()) == kept, (int(valid.sum()), kept)
        assert found.labels[image][valid].tolist() == one.labels[:kept].tolist()
        cut = one.bboxes[:kept].clamp(min=0).minimum(torch.tensor([SIZE[1], SIZE[0]] * 2))
        worst = max(worst, float((found.boxes[image][valid] - cut).abs().max()))
        worst = max(worst, float((found.scores[image][valid] - one.scores[:kept]).abs().max()))
        count += kept
    return {"detections": worst, "number of detections": count}


if __name__ == "__main__":
    main()
