"""``detzoo compare``: detectors and results on one dataset, in one table and one HTML page."""

from __future__ import annotations

import shlex
import shutil
import sys
import textwrap
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from detzoo.cli.options import GROUPS, with_options
from detzoo.experiments.places import Places
from detzoo.training.options import TrainOptions

TRAINING: Final = ("epochs", "steps", "minutes", "seed")
NOT_OFFERED: Final = {one.name for one in fields(TrainOptions)} - set(TRAINING)
"""Training options left out: here --batch, --device and --precision are those of evaluation."""


@with_options(TrainOptions, Places, leave_out=NOT_OFFERED)
def command(  # noqa: PLR0917  # typer turns parameters into options: their order means nothing
    targets: Annotated[
        list[str],
        typer.Argument(
            help="Names from `detzoo list`, recipe files, runs, result folders, COCO detections, or foreign detectors: "
            "model.onnx, hf:org/name, file.py:callable."
        ),
    ],
    data: Annotated[str, typer.Option(help="data.yaml, a COCO json, a VOC or YOLO folder, or `shapes`.")],
    out: Annotated[Path, typer.Option(help="Output folder; an interrupted comparison resumes from it.")],
    split: Annotated[str | None, typer.Option(help="Split to evaluate on (default: test, else val).")] = None,
    train: Annotated[
        bool, typer.Option("--train", help="First train the detectors given by name on this dataset.")
    ] = False,
    seeds: Annotated[
        str | None,
        typer.Option(help="With --train: trainings of each detector, as 3 (counted up from --seed), or 0,4,7."),
    ] = None,
    fractions: Annotated[
        str | None,
        typer.Option(
            help="With --train: parts of the training images to learn from, as 0.1,0.3,1. They are nested and the same "
            "for each detector; the largest is compared, all give AP over the number of images."
        ),
    ] = None,
    subset_seed: Annotated[int, typer.Option(min=0, help="Seed of the choice of --fractions.")] = 0,
    fraction_budget: Annotated[
        str, typer.Option(help="What trainings on a part keep of one on all images: steps or epochs.")
    ] = "steps",
    train_split: Annotated[str, typer.Option(help="Split to train on.")] = "train",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Recipe override key=value for every detector given by name; may be repeated."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="For evaluation and timing, and for training without --devices: cpu, cuda, cuda:1."),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images per batch in evaluation.")] = 8,
    bench_batch: Annotated[int, typer.Option(min=1, help="Images per batch when latency is timed.")] = 1,
    largest_batch: Annotated[
        int, typer.Option(help="Largest batch size tried when throughput (images per second) is measured.")
    ] = 64,
    iterations: Annotated[int, typer.Option(min=1, help="Maximum number of timed iterations.")] = 50,
    workers: Annotated[int, typer.Option(min=0, help="Number of threads that read images.")] = 2,
    engine: Annotated[str, typer.Option(help="pycocotools or faster.")] = "pycocotools",
    groups: Annotated[str | None, typer.Option(help=GROUPS)] = None,
    examples: Annotated[int, typer.Option(min=0, help="Example images on the page, worst first.")] = 8,
    precision: Annotated[str, typer.Option(help="fp32, bf16 or fp16.")] = "fp32",
    compile_: Annotated[bool, typer.Option("--compile", help="Run the networks through torch.compile first.")] = False,
    channels_last: Annotated[bool, typer.Option("--channels-last", help="NHWC (channels-last) memory layout.")] = False,
    fold: Annotated[bool, typer.Option("--fold", help="Fold batch norms into convolutions.")] = False,
    **given: Any,
) -> None:
    """Compare detectors and results: accuracy, speed, cost and errors on one dataset."""
    from detzoo.comparison.candidates import read_fractions, read_seeds
    from detzoo.comparison.plan import ComparisonPlan
    from detzoo.comparison.run_comparison import compare
    from detzoo.errors import DetzooError
    from detzoo.runtime.switches import Switches

    plan = ComparisonPlan(
        targets=targets,
        data=data,
        out=out,
        split=split,
        train=train,
        train_split=train_split,
        seeds=read_seeds(seeds),
        fractions=read_fractions(fractions),
        subset_seed=subset_seed,
        fraction_budget=fraction_budget,  # type: ignore[arg-type]  # checked there
        training=TrainOptions(**{name: given.pop(name) for name in TRAINING}),
        overrides=tuple(set_ or ()),
        **given,
        device=device,
        batch=batch,
        bench_batch=bench_batch,
        largest_batch=largest_batch,
        iterations=iterations,
        workers=workers,
        engine=engine,
        groups=groups,
        examples=examples,
        switches=Switches(compile=compile_, channels_last=channels_last, fold=fold, precision=precision),  # type: ignore[arg-type]  # checked there
        command=shlex.join(["detzoo", *sys.argv[1:]]),
    )
    try:
        done = compare(plan, lambda line: print(line, file=sys.stderr, flush=True))
    except KeyboardInterrupt as error:
        typer.echo(str(error) or "stopped; repeat the command to resume", err=True)
        raise typer.Exit(130) from None
    typer.echo(done.table.terminal(shutil.get_terminal_size().columns))
    if done.seeds is not None:
        typer.echo("\n" + done.seeds.terminal(shutil.get_terminal_size().columns))
    if done.curves is not None:
        typer.echo("\n" + done.curves.table.terminal(shutil.get_terminal_size().columns))
    typer.echo(f"\n{textwrap.fill(done.verdict, min(100, shutil.get_terminal_size().columns))}")
    typer.echo("\n".join(["", *(f"wrote {path}" for path in done.files)]))
    if done.failures:
        raise DetzooError("\n".join(f"left out {target}: {why}" for target, why in done.failures.items()))
