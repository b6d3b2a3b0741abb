"""``detzoo predict``: find objects in images, folders, videos and web addresses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def command(  # noqa: PLR0917  # typer turns parameters into options: their order means nothing
    target: Annotated[
        str,
        typer.Argument(
            help="A name from `detzoo list`, a recipe file, a run, or a foreign one: model.onnx, f.py:callable."
        ),
    ],
    sources: Annotated[list[str], typer.Argument(help="Images, folders, videos, URLs.")],
    out: Annotated[Path, typer.Option(help="Output folder for images with boxes and detections.json.")],
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value; may be repeated.")] = None,
    score_threshold: Annotated[float, typer.Option(help="Leave out detections below this score.")] = 0.3,
    nms_iou: Annotated[float | None, typer.Option(help="Replaces the recipe's value.")] = None,
    keep: Annotated[
        int | None, typer.Option(min=1, help="Detections kept per image; replaces the recipe's value.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Images per batch.", min=1)] = 8,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps (default: the fastest available).")] = None,
    precision: Annotated[str, typer.Option(help="fp32, bf16 or fp16.")] = "fp32",
    compile_: Annotated[bool, typer.Option("--compile", help="Run the network through torch.compile first.")] = False,
    channels_last: Annotated[bool, typer.Option("--channels-last", help="NHWC (channels-last) memory layout.")] = False,
    fold: Annotated[bool, typer.Option("--fold", help="Fold batch norms into convolutions.")] = False,
    runtime: Annotated[
        str, typer.Option(help="torch; onnxruntime or openvino run the detector's export, made once and kept.")
    ] = "torch",
    to: Annotated[
        list[str] | None,
        typer.Option(help="cvat or labelstudio: also write a file that the tool imports; may be repeated."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the detections as JSON too.")] = False,
) -> None:
    """Predict: draw detections and write detections.json. Exit code 1 if a source could not be read."""
    from detzoo.detector_loading import find_target
    from detzoo.prediction.apply_switches import apply_switches
    from detzoo.prediction.pre_annotations import FILES, check_tools
    from detzoo.prediction.predict_files import RESULTS, Options, annotate_files, find_sources
    from detzoo.runtime.device import pick_device
    from detzoo.runtime.progress import progress_bar
    from detzoo.runtime.switches import Switches

    switches = Switches(compile=compile_, channels_last=channels_last, fold=fold, precision=precision)  # type: ignore[arg-type]  # checked there
    tools = check_tools(to or ())
    named = find_target(target, set_=set_)  # a wrong name is told before a folder of images is searched
    files = find_sources(sources, report=lambda message: typer.echo(message, err=True))
    detector = named.load_any(runtime)
    options = Options(score_threshold, nms_iou, keep, batch, switches.precision, tools)
    detector.settings(options.settings)  # an unsupported setting is reported before the slow work starts
    apply_switches(detector, switches, pick_device(device))
    with progress_bar("predicting", len(files)) as advance:
        summary = annotate_files(
            detector,
            files,
            out,
            options,
            report=lambda message: typer.echo(message, err=True),
            advance=advance,
        )
    if json_:
        typer.echo(json.dumps(summary.as_dict(), indent=1))
    typer.echo(
        f"{summary.count} detections in {len(summary.records)} images, {len(summary.failed)} skipped; "
        f"see {out} and {out / RESULTS}",
        err=json_,
    )
    for tool in tools:
        typer.echo(f"for {tool}: {' and '.join(str(out / name) for name in FILES[tool])}", err=json_)
    if summary.records and not summary.count:
        typer.echo(f"nothing scores {score_threshold:g} or more; give a lower --score-threshold to see more", err=True)
    raise typer.Exit(1 if summary.failed else 0)
