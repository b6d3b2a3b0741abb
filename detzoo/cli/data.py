"""``detzoo data``: look at a dataset, check it, convert it to another format."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(help="Check, describe, draw, convert and make datasets.", no_args_is_help=True, rich_markup_mode=None)

Spec = Annotated[
    str,
    typer.Argument(help="shapes, voc2007, voc0712, coco2017, a data.yaml, a COCO json, or a folder.", metavar="DATA"),
]
Split = Annotated[str | None, typer.Option(help="Split (default: all).")]


@app.command()
def check(
    spec: Spec,
    split: Split = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON list instead of text.")] = False,
    all_: Annotated[bool, typer.Option("--all", help="Print every problem (default: at most 20 per kind).")] = False,
    with_: Annotated[
        str | None,
        typer.Option("--with", help="Look for wrong labels instead: a run, a trained detector, or a COCO result file."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="With --with: folder for suspicious.json, .csv and .html.")] = None,
    top: Annotated[int, typer.Option(min=1, help="With --with: labels that are printed and drawn.")] = 50,
    set_: Annotated[list[str] | None, typer.Option("--set", help="With --with: key=value; may be repeated.")] = None,
    device: Annotated[str | None, typer.Option(help="With --with: cpu, cuda, cuda:1, mps.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="With --with: images per batch.")] = 8,
) -> None:
    """Count splits, images and boxes; report every problem with its file and line. Exit code 1 if there are errors.

    With --with: rank labels that a trained detector doubts. Exit code 0, for a doubt is no error.
    """
    if with_ is not None:
        _check_labels(spec, with_, split, out, top, json_=json_, set_=set_ or [], device=device, batch=batch)
        return
    from detzoo.data.checking.check import check as find
    from detzoo.data.checking.report import as_json, as_lines
    from detzoo.errors import DetzooError

    if out is not None or set_ or device is not None:
        raise DetzooError("--out, --set and --device belong to --with RUN, which is missing")
    problems = find(spec, split) if json_ else find(spec, split, progress=_progress, say=_say)
    typer.echo(as_json(problems) if json_ else as_lines(problems, None if all_ else 20))
    if any(problem.severity == "error" for problem in problems):
        raise typer.Exit(1)


def _check_labels(
    spec: str, target: str, split: str | None, out: Path | None, top: int, *, json_: bool, **how: Any
) -> None:
    import json
    import shutil

    from detzoo.inspection.label_check import check_claim, check_labels, doubts_table, ranked_rows, write_doubts

    if out is not None:
        check_claim(out)  # before the slow work
    checked = check_labels(spec, target, split, say=lambda line: typer.echo(line, err=True), **how)
    rows = [row for row, _, _ in ranked_rows(checked)]
    if json_:
        typer.echo(json.dumps(rows, indent=1))
    else:
        typer.echo(doubts_table(rows, top).terminal(shutil.get_terminal_size().columns))
    if out is not None:
        for path in write_doubts(checked, target, out, drawn=top):
            typer.echo(f"wrote {path}", err=json_)


@app.command()
def info(
    spec: Spec,
    split: Split = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Count images, boxes and classes; summarise box and image sizes."""
    import json

    from detzoo.data import list_splits, open_dataset
    from detzoo.data.checking.report import describe
    from detzoo.data.checking.statistics import summarise

    names = list_splits(spec) if split is None else (split,)
    found = [summarise(open_dataset(spec, name)) for name in names]
    typer.echo(json.dumps(found, indent=1) if json_ else "\n\n".join(describe(entry) for entry in found))


@app.command()
def show(
    spec: Spec,
    out: Annotated[Path, typer.Option(help="Output folder for the images with boxes.")],
    split: Split = None,
    count: Annotated[int, typer.Option(min=1, help="Number of images, from the start of the split.")] = 8,
    augment: Annotated[str | None, typer.Option(help="Apply the training transforms of this recipe first.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the transforms.")] = 0,
) -> None:
    """Draw images with their boxes."""
    from detzoo.data import list_splits, open_dataset
    from detzoo.training.data_preview import draw_samples, recipe_transforms

    data = open_dataset(spec, split or list_splits(spec)[0])
    transforms = recipe_transforms(augment) if augment else []
    for path in draw_samples(data, out, count, transforms, seed):
        typer.echo(path)


@app.command()
def convert(
    spec: Spec,
    out: Annotated[Path, typer.Option(help="Output folder; must not exist yet.")],
    to: Annotated[str, typer.Option(help="coco, voc or yolo.")] = "coco",
    split: Split = None,
    link: Annotated[bool, typer.Option("--link", help="Link images instead of copying them.")] = False,
) -> None:
    """Write a dataset in another format, with a data.yaml; read it back and compare."""
    from detzoo.data import list_splits, open_dataset
    from detzoo.data.formats.capabilities import losses, target_of
    from detzoo.data.formats.writing import check_new, write_datasets

    check_new(out)
    names = list_splits(spec) if split is None else (split,)
    splits = {name: open_dataset(spec, name) for name in names}
    for message in losses(splits, target_of(to)):
        typer.echo(f"left out: {message}", err=True)
    unreadable = write_datasets(splits, out, target_of(to), copy=not link)
    for message in unreadable:
        typer.echo(f"left out: {message}", err=True)
    counts = ", ".join(f"{name} {len(data)} images" for name, data in splits.items())
    typer.echo(f"{out / 'data.yaml'}: {counts}{f'; {len(unreadable)} of them left out' if unreadable else ''}")


@app.command("split")
def split_(
    spec: Spec,
    out: Annotated[Path, typer.Option(help="Folder for data.yaml and the lists of images; must not exist yet.")],
    shares: Annotated[str, typer.Option(help="Share of each new split.")] = "train=0.8,val=0.1,test=0.1",
    split: Annotated[str | None, typer.Option(help="Split to divide (default: the only one); others stay.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed; another one divides otherwise.")] = 0,
) -> None:
    """Divide into train, val and test by class; near-duplicates and groups stay together. Only lists are written."""
    from detzoo.data.splitting import parse_shares, split_dataset

    done = split_dataset(spec, out, parse_shares(shares), split=split, seed=seed, progress=_progress)
    for message in done.unreadable:
        typer.echo(f"left out: {message}", err=True)
    for name, (images, boxes) in done.counts.items():
        typer.echo(f"{name}: {images} images, {', '.join(f'{label} {count}' for label, count in boxes.items())}")
    if done.together:
        typer.echo(
            f"{done.together} images show nearly the same as another one, or are of its group, and were kept with it"
        )
    typer.echo(str(done.description))


@app.command()
def make(
    out: Annotated[Path, typer.Option(help="Output folder; must not exist yet.")],
    to: Annotated[str, typer.Option(help="coco, voc or yolo.")] = "coco",
    train: Annotated[int, typer.Option(min=1, help="Number of training images.")] = 512,
    val: Annotated[int, typer.Option(min=1, help="Number of validation images.")] = 128,
    test: Annotated[int, typer.Option(min=1, help="Number of test images.")] = 128,
    size: Annotated[int, typer.Option(min=32, help="Typical image side in pixels.")] = 192,
    seed: Annotated[int, typer.Option(min=0, help="Random seed; another seed gives another dataset.")] = 0,
) -> None:
    """Write the generated dataset `shapes` to disk, as PNG files with boxes and masks."""
    convert(f"shapes:train={train},val={val},test={test},size={size},seed={seed}", out, to)


@app.command()
def anchors(
    spec: Spec,
    count: Annotated[int, typer.Option(min=1, help="Number of anchors.")] = 9,
    split: Split = None,
    size: Annotated[str | None, typer.Option(help="Network input HEIGHTxWIDTH to which images are resized.")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Cluster box sizes into anchors: k-means with the distance 1 - IoU."""
    from detzoo.data import list_splits, open_dataset
    from detzoo.data.checking.statistics import box_sides, cluster_sides
    from detzoo.runtime.sizes import parse_size

    data = open_dataset(spec, split or list_splits(spec)[0])
    found, overlap = cluster_sides(box_sides(data, None if size is None else parse_size(size)), count, seed=seed)
    for height, width in found:
        typer.echo(f"{height:7.1f} x {width:7.1f}   height x width px, ratio h/w {height / width:.2f}")
    typer.echo(f"mean IoU of a box with its best anchor: {overlap:.3f}")


def _say(line: str) -> None:
    from detzoo.runtime.report_text import terminal_text

    typer.echo(terminal_text(line))


def _progress(items: Iterable[str], total: int) -> Iterable[str]:
    import sys

    from rich.console import Console
    from rich.progress import track

    quiet = not sys.stderr.isatty()
    return track(items, "images", total=total, console=Console(stderr=True), disable=quiet, transient=True)
