"""``detzoo eval``: average precision of a detector, or of detections in a file, on a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from detzoo.cli.options import GROUPS


def command(  # noqa: PLR0917  # typer turns parameters into options: their order means nothing
    data: Annotated[str, typer.Option(help="data.yaml, a COCO json, a VOC or YOLO folder, or `shapes`.")],
    target: Annotated[
        str | None,
        typer.Argument(
            help="A name from `detzoo list`, a recipe file, a run, or a foreign one: model.onnx, f.py:callable."
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="val, test, ... (default: the dataset's own).")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for results.json and detections.json.")] = None,
    from_: Annotated[
        Path | None, typer.Option("--from", help="Score this COCO results file instead of a detector.")
    ] = None,
    categories: Annotated[
        str | None, typer.Option(help="Class names of the category ids in --from: a,b,c (ids from 0), or a file.")
    ] = None,
    boxes: Annotated[str | None, typer.Option(help="Box format of --from: xywh or xyxy.")] = None,
    image_ids: Annotated[
        str | None, typer.Option(help="What image_id in --from is: own (the dataset's ids), name, stem or number.")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value; may be repeated.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images per batch.")] = 8,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps (default: the fastest available).")] = None,
    score_threshold: Annotated[float | None, typer.Option(help="Replaces the recipe's value.")] = None,
    nms_iou: Annotated[float | None, typer.Option(help="Replaces the recipe's value.")] = None,
    keep: Annotated[
        int | None, typer.Option(min=1, help="Detections kept per image; replaces the recipe's value.")
    ] = None,
    engine: Annotated[str, typer.Option(help="pycocotools or faster.")] = "pycocotools",
    max_dets: Annotated[
        int | None,
        typer.Option(
            "--max-dets",
            help="Detections that AP looks at: of each image and class, 100 or more (default: 100); LVIS: of each "
            "image, 300 or more (default: 300).",
        ),
    ] = None,
    voc_protocol: Annotated[
        list[str] | None,
        typer.Option(
            "--voc-protocol",
            help="recall_steps=exact|float, inclusive=true|false (a match at IoU 0.5 exactly), "
            "legacy_plus_one=true|false (sizes of inclusive pixels); may be repeated.",
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Number of threads that read images.")] = 2,
    precision: Annotated[str, typer.Option(help="fp32, bf16 or fp16.")] = "fp32",
    compile_: Annotated[bool, typer.Option("--compile", help="Run the network through torch.compile first.")] = False,
    channels_last: Annotated[bool, typer.Option("--channels-last", help="NHWC (channels-last) memory layout.")] = False,
    fold: Annotated[bool, typer.Option("--fold", help="Fold batch norms into convolutions.")] = False,
    runtime: Annotated[
        str, typer.Option(help="torch; onnxruntime or openvino run the detector's export, made once and kept.")
    ] = "torch",
    intervals: Annotated[
        bool, typer.Option("--intervals", help="Confidence intervals of all numbers, from resampled images.")
    ] = False,
    groups: Annotated[str | None, typer.Option(help=GROUPS)] = None,
    calibration: Annotated[
        bool, typer.Option("--calibration", help="Also how well scores say how often a detection is right, and oLRP.")
    ] = False,
    thresholds: Annotated[
        str | None,
        typer.Option(help="Choose the score of each class on another split and report it: f1, lrp or precision=0.9."),
    ] = None,
    choose_on: Annotated[str | None, typer.Option(help="Split that chooses --thresholds (default: val).")] = None,
    choose_from: Annotated[
        Path | None, typer.Option(help="COCO results on that split, where --from has those that are reported.")
    ] = None,
    curves: Annotated[bool, typer.Option(help="Also write precision-recall curves and the confusion matrix.")] = True,
) -> None:
    """Evaluate: COCO's twelve numbers, VOC07 and VOC10+ AP, all per class."""
    from detzoo.comparison.evaluate_one import evaluate_file, evaluate_target, report
    from detzoo.comparison.score_text import choosing_split, with_calibration, with_thresholds
    from detzoo.errors import DetzooError
    from detzoo.evaluation.results import Evaluation, refuse_foreign
    from detzoo.evaluation.thresholds import threshold_rule
    from detzoo.runtime.folder_claim import tell_replaced
    from detzoo.runtime.switches import Switches
    from detzoo.types import DetectionSettings

    rule = None if thresholds is None else threshold_rule(thresholds)
    if from_ is None and (categories or boxes or image_ids or choose_from):
        raise DetzooError(
            "--categories, --boxes, --image-ids and --choose-from describe the file of --from, which is missing"
        )
    if groups is not None and not intervals:
        raise DetzooError("--groups says what --intervals resample; give --intervals as well")
    if thresholds is None and (choose_on or choose_from):
        raise DetzooError("--choose-on and --choose-from say where --thresholds are chosen; give --thresholds as well")
    if thresholds is not None and from_ is not None and choose_from is None:
        raise DetzooError("--thresholds: give the same detector's results on the other split with --choose-from FILE")
    chosen_split = None if rule is None else choosing_split(data, split, choose_on)
    if out is not None:
        refuse_foreign(out)  # before the slow work
        tell_replaced(out / "results.json", "evaluation")
    switches = Switches(compile=compile_, channels_last=channels_last, fold=fold, precision=precision)  # type: ignore[arg-type]  # checked there
    shared: dict[str, Any] = {"engine": engine, "max_detections": max_dets, "voc": voc_protocol or ()}

    def evaluated(on: str | None, file: Path | None) -> Evaluation:
        of_reported = groups if on == split else None
        if file is not None:
            return evaluate_file(
                file,
                target,
                data,
                on,
                groups=of_reported,
                categories=categories,
                boxes=boxes,
                image_ids=image_ids,
                **shared,
            )
        return evaluate_target(
            target,
            data,
            on,
            groups=of_reported,
            set_=set_,
            device=device,
            batch=batch,
            settings=DetectionSettings(score_threshold, nms_iou, keep),
            workers=workers,
            switches=switches,
            runtime=runtime,
            say=lambda line: typer.echo(line, err=True),
            **shared,
        )

    evaluation = evaluated(split, from_)
    if intervals:
        evaluation = evaluation.with_intervals()
    if calibration:
        evaluation = with_calibration(evaluation)
    if rule is not None:
        evaluation = with_thresholds(evaluation, evaluated(chosen_split, choose_from), rule)
    typer.echo(report(evaluation, out, curves=curves))
