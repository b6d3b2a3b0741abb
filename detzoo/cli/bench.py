"""``detzoo bench``: latency, throughput, parameters, FLOPs and memory of detectors, all under the same protocol."""

from __future__ import annotations

from typing import Annotated

import typer


def command(  # noqa: PLR0917  # typer turns parameters into options: their order means nothing
    targets: Annotated[
        list[str],
        typer.Argument(
            help="Names from `detzoo list`, recipe files, runs, or foreign detectors: model.onnx, hf:org/name."
        ),
    ],
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps (default: the fastest available).")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images per batch.")] = 1,
    size: Annotated[str, typer.Option(help="HEIGHTxWIDTH in pixels of the random-noise images.")] = "480x640",
    data: Annotated[str | None, typer.Option(help="Time on images of this dataset instead of noise.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of --data.")] = None,
    iterations: Annotated[int, typer.Option(min=1, help="Maximum number of timed iterations.")] = 50,
    warmup: Annotated[int, typer.Option(min=0, help="Untimed iterations before the measured ones.")] = 10,
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value; may be repeated.")] = None,
    score_threshold: Annotated[float | None, typer.Option(help="Replaces the recipe's value.")] = None,
    nms_iou: Annotated[float | None, typer.Option(help="Replaces the recipe's value.")] = None,
    keep: Annotated[
        int | None, typer.Option(min=1, help="Detections kept per image; replaces the recipe's value.")
    ] = None,
    precision: Annotated[str, typer.Option(help="fp32, bf16 or fp16.")] = "fp32",
    compile_: Annotated[bool, typer.Option("--compile", help="Run the network through torch.compile first.")] = False,
    channels_last: Annotated[bool, typer.Option("--channels-last", help="NHWC (channels-last) memory layout.")] = False,
    fold: Annotated[bool, typer.Option("--fold", help="Fold batch norms into convolutions.")] = False,
    runtime: Annotated[
        str, typer.Option(help="torch; onnxruntime or openvino run the detector's export, made once and kept.")
    ] = "torch",
    threads: Annotated[
        str | None, typer.Option(help="Numbers of processor threads to time with, as 1,2,4 (default: torch's own).")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print all measurements as JSON.")] = False,
) -> None:
    """Benchmark detectors from decoded image to detections: preprocessing, network, post-processing and total."""
    from detzoo.benchmark.bench_command import bench_targets, render
    from detzoo.errors import DetzooError
    from detzoo.runtime.switches import Switches
    from detzoo.runtime.thread_counts import parse_threads
    from detzoo.types import DetectionSettings

    switches = Switches(compile=compile_, channels_last=channels_last, fold=fold, precision=precision)  # type: ignore[arg-type]  # checked there
    benched = bench_targets(
        targets,
        device=device,
        batch=batch,
        size=size,
        data=data,
        split=split,
        iterations=iterations,
        warmup=warmup,
        set_=set_,
        settings=DetectionSettings(score_threshold, nms_iou, keep),
        switches=switches,
        runtime=runtime,
        threads=() if threads is None else parse_threads(threads),
    )
    typer.echo(render(benched, as_json=json_))
    if benched.failed:
        raise DetzooError("\n".join(f"not timed: {target}: {why}" for target, why in benched.failed.items()))
