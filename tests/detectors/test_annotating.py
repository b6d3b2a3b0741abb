"""``detzoo predict``: what is read, what is written, what is never touched."""

import hashlib
import json
import os
import resource
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from detzoo.components.postprocess.top_k import TopK
from detzoo.errors import DataError, MachineError
from detzoo.interfaces import Detector
from detzoo.prediction.drawn_video import writing_video
from detzoo.prediction.input_spec import InputSpec
from detzoo.prediction.predict_files import Options, annotate, annotate_files, find_sources
from detzoo.types import Candidates, ImageBatch, Predictions, Targets


class Middle(Detector):
    """Finds the left half of every image, with a score of 0.9."""

    def __init__(self) -> None:
        super().__init__()
        self.input = InputSpec(size=(32, 32))
        self.classes = ("half",)
        self.postprocess = TopK(keep=1, score_threshold=0.05)

    def network(self, batch: ImageBatch, targets: Targets | None = None) -> tuple[Candidates, Predictions]:
        count = len(batch.pixels)
        box = torch.tensor([0.0, 0.0, 16.0, 32.0]).expand(count, 1, 4)
        found = Predictions(torch.full((count, 1, 1), 0.9), "linear", torch.zeros(count, 1, 1, 4))
        return Candidates(box, torch.ones(count, 1, dtype=torch.bool)), found

    def losses(self, batch: ImageBatch, targets: Targets) -> dict[str, torch.Tensor]:
        raise NotImplementedError


def image(value: int = 200) -> NDArray[np.uint8]:
    return np.full((40, 60, 3), value, np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inputs = tmp_path / "in"
    (inputs / "deep").mkdir(parents=True)
    cv2.imwrite(str(inputs / "a.jpg"), image())
    cv2.imwrite(str(inputs / "b.png"), image())
    cv2.imwrite(str(inputs / "deep" / "a.png"), image(10))
    (inputs / "notes.txt").write_text("not an image")
    return inputs


def digests(folder: Path) -> dict[str, str]:
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_folder_is_searched_and_every_image_drawn_once(folder: Path, tmp_path: Path) -> None:
    done = annotate(Middle(), [str(folder)], tmp_path / "out")
    assert [path.name for path in done.written] == ["a.jpg", "b.png", "a.png"]
    written = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert written["failed"] == []
    assert written["images"][0] == {
        "file": str(folder / "a.jpg"),
        "drawn": "a.jpg",
        "height": 40,
        "width": 60,
        "detections": [{"class": "half", "label": 0, "score": 0.9, "box": [0.0, 0.0, 30.0, 40.0]}],
    }
    drawn = cv2.imread(str(tmp_path / "out" / "b.png"))
    assert drawn is not None
    assert drawn.shape == (40, 60, 3)
    assert (drawn != 200).any()


def test_files_for_annotation_tools_lie_beside_the_detections(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for _ in range(2):  # its own files are replaced
        annotate(Middle(), [str(folder)], out, Options(tools=("cvat", "labelstudio")))
    boxes = '<box label="half" source="auto" occluded="0" xtl="0.00" ytl="0.00" xbr="30.00" ybr="40.00" z_order="0" />'
    text = (out / "cvat.xml").read_text()
    assert [f'name="{name}"' in text for name in ("a.jpg", "b.png", "deep/a.png")] == [True] * 3
    assert text.count(boxes) == 3
    assert len(json.loads((out / "label_studio.json").read_text())) == 3
    (out / "label_studio.xml").write_text("<View></View>")
    before = digests(out)
    with pytest.raises(DataError, match=r"label_studio\.xml exists"):
        annotate(Middle(), [str(folder)], out, Options(tools=("labelstudio",)))
    assert digests(out) == before


def test_inputs_are_never_overwritten(folder: Path) -> None:
    before = digests(folder)
    done = annotate(Middle(), [str(folder)], folder)
    assert [path.name for path in done.written] == ["a_2.jpg", "b_2.png", "a.png"]
    after = digests(folder)
    assert {path: after[path] for path in before} == before


def test_a_photograph_of_somebody_is_never_replaced_and_a_drawing_is(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "photos"
    (out / "deep").mkdir(parents=True)
    cv2.imwrite(str(out / "a.jpg"), image(7))
    (out / "b.png").symlink_to(folder / "notes.txt")
    before = digests(out) | digests(folder)
    first = annotate(Middle(), [str(folder)], out)
    assert [path.name for path in first.written] == ["a_2.jpg", "b_2.png", "a.png"]
    again = annotate(Middle(), [str(folder)], out)
    assert again.written == first.written
    assert {path: digest for path, digest in (digests(out) | digests(folder)).items() if path in before} == before


def test_the_detections_of_an_evaluation_are_never_replaced(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    results = tmp_path / "detections.json"
    results.write_text('[{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 1}]')
    before = digests(tmp_path)
    with pytest.raises(DataError, match=r"detections\.json exists and was not written by detzoo predict"):
        annotate(Middle(), [str(folder)], tmp_path)
    assert digests(tmp_path) == before
    results.unlink()
    annotate(Middle(), [str(folder / "a.jpg")], tmp_path)
    assert not caplog.records
    annotate(Middle(), [str(folder / "b.png")], tmp_path)
    assert json.loads(results.read_text())["images"][0]["drawn"] == "b.png"
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path} holds an earlier prediction, which is replaced"
    ]


def test_a_video_that_does_not_fit_on_the_disk_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "made.mp4"
    path.write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def write() -> None:
        with writing_video(path, 5.0, by="predict") as video:
            resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))
            for _ in range(3):
                video.add(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8))

    try:
        with pytest.raises(MachineError, match="0 of 3 frames could be written"):
            write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (b"old", [path])


def test_two_inputs_of_one_name_get_two_drawings(folder: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(folder / "a.png"), image())
    done = annotate(Middle(), [str(folder)], tmp_path / "out")
    assert [path.name for path in done.written] == ["a.jpg", "a.png", "b.png", "a_2.png"]


def test_a_broken_image_is_reported_and_skipped(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.jpg").write_bytes(b"no image")
    said: list[str] = []
    done = annotate(Middle(), [str(folder)], tmp_path / "out", report=said.append)
    assert len(done.records) == 3
    assert done.failed == [
        {
            "file": str(folder / "broken.jpg"),
            "error": f"{folder / 'broken.jpg'}: not an image in a known format (it begins with b'no image')",
        }
    ]
    assert said == [f"skipped: {done.failed[0]['error']}"]


def test_only_broken_images_still_write_the_json(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(b"no")
    done = annotate(Middle(), [str(tmp_path / "x.jpg")], tmp_path / "out")
    assert done.records == []
    assert json.loads((tmp_path / "out" / "detections.json").read_text())["images"] == []


def test_the_score_threshold_is_the_detectors_for_this_call(folder: Path, tmp_path: Path) -> None:
    detector = Middle()
    done = annotate(detector, [str(folder / "a.jpg")], tmp_path / "out", Options(score_threshold=0.95))
    assert done.count == 0
    assert detector.postprocess.settings.score_threshold == 0.05


def write_clip(path: Path) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (64, 48))
    for value in range(7):
        writer.write(np.full((48, 64, 3), 30 * value, np.uint8))
    writer.release()
    return path


def test_a_video_becomes_a_video_of_the_same_size_rate_and_length(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.avi")
    done = annotate(Middle(), [str(path)], tmp_path / "out", Options(batch=3))
    assert [record["frame"] for record in done.records] == list(range(7))
    assert done.written == [tmp_path / "out" / "clip.mp4"]
    again = annotate(Middle(), [str(path)], tmp_path / "out", Options(batch=3))
    assert again.written == done.written  # its own is replaced
    capture = cv2.VideoCapture(str(done.written[0]))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 7
    assert capture.get(cv2.CAP_PROP_FPS) == 5
    assert capture.get(cv2.CAP_PROP_FRAME_WIDTH) == 64
    capture.release()


def test_a_broken_video_is_reported_and_skipped(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    done = annotate(Middle(), [str(tmp_path / "clip.mp4")], tmp_path / "out")
    assert done.failed[0]["error"] == f"{tmp_path / 'clip.mp4'}: no frame of this video can be read"
    assert not (tmp_path / "out" / "clip.mp4").exists()


def test_a_video_that_cannot_be_written_leaves_no_frames_in_the_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(*_: object) -> NDArray[np.uint8]:
        raise DataError("the first frame cannot be written")

    monkeypatch.setattr("detzoo.prediction.predict_files.draw_detections", draw)
    done = annotate(Middle(), [str(write_clip(tmp_path / "clip.avi"))], tmp_path / "out")
    assert done.failed[0]["error"] == "the first frame cannot be written"
    assert done.written == []
    assert done.records == []


def test_sources_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        find_sources([str(tmp_path / "gone.jpg")])
    assert str(caught.value) == f"{tmp_path / 'gone.jpg'}: no such file or folder"
    with pytest.raises(DataError, match="no images in this folder; looked for"):
        find_sources([str(tmp_path)])
    with pytest.raises(DataError, match=r"^no sources: give files, folders or URLs$"):
        find_sources([])


def test_each_source_is_looked_at_once(folder: Path) -> None:
    assert find_sources([str(folder / "a.jpg"), str(folder)]) == [
        str(folder / "a.jpg"),
        str(folder / "b.png"),
        str(folder / "deep" / "a.png"),
    ]


def test_one_strange_file_in_a_folder_stops_nothing(folder: Path, tmp_path: Path) -> None:
    (folder / "circle.png").symlink_to("circle.png")
    (folder / "lost.png").symlink_to("gone.png")
    os.mkfifo(folder / "pipe.png")
    told: list[str] = []
    files = find_sources([str(folder)])
    done = annotate_files(Middle(), files, tmp_path / "out", Options(), report=told.append, advance=lambda _: None)
    assert len(done.records) == len(files) - 3
    assert [Path(one["file"]).name for one in done.failed] == ["circle.png", "lost.png", "pipe.png"]
    assert "circle" in told[0]
    assert "named pipe" in told[2]
