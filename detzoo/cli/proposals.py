"""``detzoo proposals``: make image-level region proposals, evaluate them, draw them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Make, evaluate and draw region proposals.", no_args_is_help=True, rich_markup_mode=None)

Data = Annotated[str, typer.Option(help="data.yaml, a COCO json, a VOC or YOLO folder, or `shapes`.")]
Workers = Annotated[int | None, typer.Option(min=0, help="Number of processes (default: one per core).")]


@app.command()
def make(
    method: Annotated[str, typer.Option(help="A proposer: `detzoo list --kind proposer`; or NAME:key=value,...")],
    data: Data,
    out: Annotated[
        Path, typer.Option(help="Output file; an existing one of the same method and parameters is extended.")
    ],
    split: Annotated[
        list[str] | None, typer.Option(help="train, train+val, ...; may be repeated (default: all splits).")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value of the method; may be repeated.")] = None,
    workers: Workers = None,
    max_boxes: Annotated[int | None, typer.Option(min=1, help="Keep only the best proposals of each image.")] = None,
    max_images: Annotated[
        int | None, typer.Option(min=1, help="Only the first images of each split, for a trial.")
    ] = None,
) -> None:
    """Write the proposals of every image to one file. If interrupted, repeat the command to resume."""
    from detzoo.proposals.making import make_target

    try:
        made = make_target(method, data, out, split or (), set_ or (), workers, max_boxes, max_images)
    except KeyboardInterrupt:
        typer.echo(f"\nstopped; finished images are kept next to {out}: repeat the command to resume", err=True)
        raise typer.Exit(130) from None
    typer.echo(made)


@app.command("eval")
def evaluate(
    targets: Annotated[list[str], typer.Argument(help="Methods (NAME or NAME:key=value,...) and files.")],
    data: Data,
    out: Annotated[Path, typer.Option(help="Output folder; an interrupted evaluation resumes from it.")],
    split: Annotated[str | None, typer.Option(help="Split to evaluate on (default: test, else val).")] = None,
    counts: Annotated[
        str, typer.Option(help="Numbers of proposals per image to evaluate.")
    ] = "10,20,50,100,200,300,500,1000,2000",
    repeat: Annotated[int, typer.Option(min=0, help="Images used to measure repeatability; 0 skips it.")] = 20,
    detector: Annotated[
        str | None, typer.Option(help="Run of a Fast R-CNN that gets the proposals; its AP is reported.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Device of the detector: cpu, cuda, ... (default: the fastest).")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images per batch in the detector.")] = 8,
    workers: Workers = None,
) -> None:
    """Evaluate proposal methods on your own data: recall, average recall, repeatability, time and AP."""
    import shutil

    from detzoo.proposals.evaluate import Plan, evaluate_proposals
    from detzoo.proposals.report import proposal_table
    from detzoo.proposals.sources import numbers_of

    plan = Plan(targets, data, out, split, numbers_of(counts), repeat, detector, device, batch, workers)
    try:
        results = evaluate_proposals(plan, lambda line: typer.echo(line, err=True))
    except KeyboardInterrupt:
        typer.echo(f"\nstopped; finished parts are kept in {out}: repeat the command to resume", err=True)
        raise typer.Exit(130) from None
    typer.echo(proposal_table(results).terminal(shutil.get_terminal_size().columns))
    typer.echo(f"\nwrote {out / 'results.json'}, table.md, table.csv and plots")


@app.command()
def show(
    target: Annotated[str, typer.Argument(help="A method (NAME or NAME:key=value,...) or a file.")],
    out: Annotated[Path, typer.Option(help="Output folder for the drawings.")],
    images: Annotated[list[str] | None, typer.Argument(help="Images (default with --data: the first four).")] = None,
    top: Annotated[int, typer.Option(min=1, help="Number of best boxes to draw.")] = 20,
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value of the method; may be repeated.")] = None,
    data: Annotated[
        str | None, typer.Option(help="Dataset of the images: also draw which objects are covered.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split of --data (default: its first).")] = None,
    k: Annotated[
        str | None, typer.Option(help="Draw segments at these scales side by side, for example 50,200.")
    ] = None,
    colours: Annotated[str, typer.Option(help="Colours of the segments: mean or random.")] = "mean",
) -> None:
    """Draw the best boxes, the objects they cover, and the segments they come from."""
    from detzoo.proposals.show import View, check_colours, scales_of, show_proposals

    scales = () if k is None else scales_of(k)
    view = View(target, images or (), out, top, set_ or (), data, split, scales, check_colours(colours))
    for path, what in show_proposals(view):
        typer.echo(f"{path}: {what}")
