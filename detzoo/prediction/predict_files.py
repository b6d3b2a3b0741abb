"""``detzoo predict``: images, folders, videos and addresses in; drawn copies and one JSON file out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from detzoo.errors import DataError
from detzoo.ops.mask_encoding import run_lengths
from detzoo.prediction.detections import Detections
from detzoo.prediction.drawn_video import writing_video
from detzoo.prediction.pre_annotations import Tool, check_replaceable, write_pre_annotations
from detzoo.prediction.predict import detect_images, inference
from detzoo.prediction.untrained import tell_untrained
from detzoo.prediction.video_source import VideoSource
from detzoo.runtime.atomic_files import write_text
from detzoo.runtime.drawing import ImageArray, draw_detections
from detzoo.runtime.folder_claim import locked_folder, tell_replaced
from detzoo.runtime.foreign_files import MissingFileError, check_ordinary, files_below, is_ordinary
from detzoo.runtime.images import MAX_FILE_BYTES, SUFFIXES, is_url, read_image
from detzoo.runtime.near_names import nearest_path
from detzoo.runtime.own_drawings import may_write, write_drawing
from detzoo.runtime.passed_over import passed_over
from detzoo.runtime.switches import Precision
from detzoo.types import DetectionSettings

if TYPE_CHECKING:
    from detzoo.interfaces.any_detector import AnyDetector

VIDEOS: Final = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"})
RESULTS: Final = "detections.json"
FORMAT: Final = "detzoo.predictions/1"
"""Of that file; its first key."""
MAKER: Final = "predict"
"""The command whose drawings may be replaced."""


@dataclass(frozen=True)
class Options:
    """How to predict and draw.

    Args:
        score_threshold: 0..1, detections below it are neither written nor drawn.
        nms_iou: replaces the recipe's, or None.
        keep: detections kept per image, or None for the recipe's.
        batch: images at once.
        precision: of the network.
        tools: annotation tools that a file of pre-annotations is written for.
    """

    score_threshold: float = 0.3
    nms_iou: float | None = None
    keep: int | None = None
    batch: int = 8
    precision: Precision = "fp32"
    tools: tuple[Tool, ...] = ()

    @property
    def settings(self) -> DetectionSettings:
        """Those of post-processing."""
        return DetectionSettings(self.score_threshold, self.nms_iou, self.keep)


@dataclass
class Summary:
    """What was done.

    Args:
        records: one dictionary per image or video frame.
        failed: what could not be read, and why.
        written: drawn files.
    """

    records: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"images": self.records, "failed": self.failed}

    @property
    def count(self) -> int:
        """Detections in all."""
        return sum(len(record["detections"]) for record in self.records)


def annotate(
    detector: AnyDetector,
    sources: Sequence[str],
    out: Path,
    options: Options | None = None,
    *,
    report: Callable[[str], None] = lambda _: None,
    advance: Callable[[int], None] = lambda _: None,
) -> Summary:
    """Detect in every source, write drawn copies and ``detections.json`` to a folder.

    Only files of an earlier prediction are replaced; a drawing whose name somebody else's file has gets another one.

    Args:
        detector: on its device.
        sources: files, folders (searched with their subfolders) and URLs.
        out: folder; made where it is missing.
        options: thresholds.
        report: callback with a message for each source that cannot be read.
        advance: is called with the number of sources just finished.

    Raises:
        DataError: nothing to look at, another process writes to ``out``, or it holds a detections.json of another kind.
        MachineError: the disk is full, or failed otherwise.
    """
    files = find_sources(sources)  # before anything is written: a folder may hold its own output
    return annotate_files(detector, files, out, options or Options(), report=report, advance=advance)


def annotate_files(
    detector: AnyDetector,
    files: Sequence[str],
    out: Path,
    options: Options,
    *,
    report: Callable[[str], None],
    advance: Callable[[int], None],
) -> Summary:
    """``annotate`` of what ``find_sources`` has found: what cannot be read is reported, and the rest goes on."""
    settings = detector.settings(options.settings)
    tell_untrained(detector)
    with locked_folder(out, what="predict"):
        _check_results(out / RESULTS)
        check_replaceable(out, options.tools)
        tell_replaced(out / RESULTS, "prediction")
        return _annotated(detector, files, out, options, settings, report, advance)


def _annotated(
    detector: AnyDetector,
    files: Sequence[str],
    out: Path,
    options: Options,
    settings: DetectionSettings,
    report: Callable[[str], None],
    advance: Callable[[int], None],
) -> Summary:
    names = _Names(out, files)
    summary = Summary()

    def failed(source: str, error: DataError) -> None:
        summary.failed.append({"file": source, "error": str(error)})
        report(f"skipped: {error}")

    with inference(detector, precision=options.precision):
        for group in _groups(files, options.batch):  # a broken source is noted; the rest still runs
            if Path(group[0]).suffix.lower() in VIDEOS and not is_url(group[0]):
                try:
                    _video(detector, group[0], names, options.batch, settings, summary)
                except DataError as error:
                    failed(group[0], error)
            else:
                _images(detector, group, names, settings, summary, failed)
            advance(len(group))
    write_text(out / RESULTS, json.dumps({"format": FORMAT, **summary.as_dict()}, indent=1) + "\n")
    write_pre_annotations(
        out, options.tools, summary.records, classes=detector.classes, model=detector.name, report=report
    )
    return summary


def _check_results(path: Path) -> None:
    """Reject to replace somebody else's detections: an evaluation writes a file of this name too."""
    if not os.path.lexists(path):
        return
    own = False
    if is_ordinary(path):
        with path.open("rb") as file:
            own = json.dumps(FORMAT).encode() in file.read(64)  # its first key
    if not own:
        raise DataError(f"{path} exists and was not written by detzoo predict; choose another --out, or move it away")


def find_sources(sources: Sequence[str], report: Callable[[str], None] = lambda _: None) -> list[str]:
    """Files and URLs, folders replaced by the images and videos in them, sorted; each once.

    Raises:
        DataError: a path does not exist, or a folder holds nothing to look at.
    """
    found: dict[str, None] = {}
    for source in sources:
        path = Path(source)
        if is_url(source) or is_ordinary(path):
            found[source] = None  # a dict: each once, in the given order
        elif os.path.isdir(path):
            below = files_below(path)
            inside = [str(p) for p in below if p.suffix.lower() in SUFFIXES | VIDEOS]
            if others := passed_over(below, SUFFIXES | VIDEOS):
                report(f"{source}: files that are not read: {others}")
            if not inside:
                raise DataError(
                    f"{source}: no images in this folder; looked for {', '.join(sorted(SUFFIXES | VIDEOS))}"
                )
            found |= dict.fromkeys(inside)
        else:
            _reject(path)
    if not found:
        raise DataError("no sources: give files, folders or URLs")
    return list(found)


def _reject(path: Path) -> None:
    """Say why a path is nothing to look at.

    Raises:
        DataError: always.
    """
    try:
        check_ordinary(path, limit=MAX_FILE_BYTES, what="file or folder")
    except MissingFileError as error:
        hint = nearest_path(path)
        raise DataError(f"{error}{f'; {hint}' if hint else ''}") from None


class _Names:
    """Names of drawn files: those of the inputs, numbered where they would meet each other or somebody's file."""

    def __init__(self, out: Path, inputs: Iterable[str]) -> None:
        self.out = out
        self.taken = {os.path.realpath(source) for source in inputs if not is_url(source)}  # links may lead in a circle

    def new(self, source: str, suffix: str) -> Path:
        """A path in the output folder where nothing is lost: no input, nothing of this call, no other's file."""
        name = Path(unquote(urlsplit(source).path)).stem if is_url(source) else Path(source).stem
        path, number = self.out / f"{name or 'image'}{suffix}", 1
        while os.path.realpath(path) in self.taken or not may_write(path, MAKER):
            number += 1
            path = self.out / f"{name or 'image'}_{number}{suffix}"
        self.taken.add(os.path.realpath(path))
        return path


def _groups(files: Sequence[str], batch: int) -> Iterator[list[str]]:
    """Images in batches, videos by themselves, in the given order."""
    group: list[str] = []
    for source in files:
        video = Path(source).suffix.lower() in VIDEOS and not is_url(source)
        if group and (video or len(group) == batch):
            yield group
            group = []
        if video:
            yield [source]
        else:
            group.append(source)
    if group:
        yield group


def _images(
    detector: AnyDetector,
    sources: Sequence[str],
    names: _Names,
    settings: DetectionSettings,
    summary: Summary,
    failed: Callable[[str, DataError], None],
) -> None:
    images: list[ImageArray] = []
    good: list[str] = []
    for source in sources:
        try:
            images.append(read_image(source))
        except DataError as error:
            failed(source, error)
        else:
            good.append(source)
    detected = detect_images(detector, images, good, settings=settings)
    for source, image, found in zip(good, images, detected, strict=True):
        # Lossless stays lossless: a drawing of a PNG with flat areas is ugly as JPEG.
        path = names.new(source, ".png" if Path(source).suffix.lower() in {".png", ".gif", ".bmp"} else ".jpg")
        write_drawing(path, draw_detections(image, found), by=MAKER)
        summary.written.append(path)
        summary.records.append({"file": source, "drawn": path.name, **_plain(found)})


def _video(
    detector: AnyDetector, source: str, names: _Names, batch: int, settings: DetectionSettings, summary: Summary
) -> None:
    """Every readable frame, in batches, into an mp4 of the same size and rate.

    Raises:
        DataError: no frame can be read; or, after the others were written, some cannot.
    """
    video = VideoSource(source)
    path = names.new(source, ".mp4")
    records: list[dict[str, Any]] = []  # told only with the file that they name
    try:
        with writing_video(path, video.rate, by=MAKER) as drawn:
            for frames in video.batches(batch):
                found_in = detect_images(detector, [frame for _, frame in frames], settings=settings)
                for (number, frame), found in zip(frames, found_in, strict=True):
                    records.append({"file": source, "frame": number, "drawn": path.name, **_plain(found)})
                    drawn.add(draw_detections(frame, found))
            if video.read == 0:  # OpenCV opens what is no video without an error
                raise DataError(f"{source}: no frame of this video can be read")
    finally:
        video.close()
    summary.records += records
    summary.written.append(path)
    loss = video.loss()
    if loss is not None:
        raise DataError(loss)


def _plain(found: Detections) -> dict[str, Any]:
    """Plain values; masks as COCO's compressed run lengths, under COCO's name ``segmentation``."""
    detections: list[dict[str, Any]] = [
        {"class": name, "label": label, "score": round(score, 5), "box": [round(value, 2) for value in box]}  # 0.01 px
        for name, label, score, box in zip(
            found.names, found.labels.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True
        )
    ]
    if found.masks is not None:
        for detection, outline in zip(detections, run_lengths(found.masks.numpy()), strict=True):
            detection["segmentation"] = outline
    return {"height": found.size[0], "width": found.size[1], "detections": detections}
