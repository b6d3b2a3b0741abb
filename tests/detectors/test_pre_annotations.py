"""``detzoo predict --to cvat|labelstudio``: the files are read by the tools' own importers and by detzoo's readers."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import cv2
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from detzoo.data import open_dataset
from detzoo.errors import DataError
from detzoo.ops.mask_encoding import run_lengths
from detzoo.prediction.pre_annotations import TOOLS, check_replaceable, check_tools, write_pre_annotations

HEIGHT, WIDTH = 30, 40
CLASSES = ("cat & <dog>", "Ä", None)
BOXES: dict[str, list[tuple[str, list[float]]]] = {
    "a b/one.png": [("cat & <dog>", [1, 2, 11.25, 22.5]), ("Ä", [0, 0, 40, 30])],
    "two.png": [("Ä", [5, 5, 25, 15])],
    "c/empty.png": [],
}


def record(file: Path | str, *boxes: tuple[str, list[float]], **more: Any) -> dict[str, Any]:
    found = [{"class": name, "label": CLASSES.index(name), "score": 0.5, "box": box} for name, box in boxes]
    return {"file": str(file), "height": HEIGHT, "width": WIDTH, "detections": found} | more


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A folder with ``images/`` and the files of both tools for them."""
    for name in BOXES:
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "images" / name), np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    records = [record(tmp_path / "images" / name, *boxes) for name, boxes in BOXES.items()]
    write_pre_annotations(tmp_path, TOOLS, records, classes=CLASSES, model="net", report=pytest.fail)
    return tmp_path


def objects(spec: Path, names: dict[str, str] | None = None) -> dict[str, list[tuple[str, list[float]]]]:
    """The boxes that detzoo reads, by image."""
    data = open_dataset(spec)
    return {
        (names or {}).get(Path(sample.path).name, Path(sample.path).name): [
            (data.classes[label], box)
            for label, box in zip(sample.labels.tolist(), sample.boxes.round(2).tolist(), strict=True)
        ]
        for sample in data
    }


EXPECTED = {Path(name).name: boxes for name, boxes in BOXES.items()}


def test_detzoo_reads_what_it_wrote_for_cvat(written: Path) -> None:
    assert objects(written / "cvat.xml") == EXPECTED
    description = {"format": "cvat", "splits": {"all": {"annotations": "cvat.xml", "images": "images"}}}
    (written / "data.yaml").write_text(yaml.safe_dump(description))
    assert objects(written / "data.yaml") == EXPECTED


def test_datumaro_reads_what_is_for_cvat(written: Path) -> None:
    datumaro = pytest.importorskip("datumaro")
    (written / "label_studio.xml").unlink()
    found = datumaro.Dataset.import_from(str(written), "cvat")
    names = [one.name for one in found.categories()[datumaro.AnnotationType.label]]
    assert {item.id: [(names[one.label], one.points) for one in item.annotations] for item in found} == {
        name.removesuffix(".png"): boxes for name, boxes in BOXES.items()
    }


def test_label_studios_tasks_hold_percent_and_local_files(written: Path) -> None:
    tasks = json.loads((written / "label_studio.json").read_text())
    places = [task["data"]["image"] for task in tasks]
    assert [unquote(place) for place in places] == [f"/data/local-files/?d={name}" for name in BOXES]
    assert " " not in "".join(places)
    value = tasks[0]["predictions"][0]["result"][0]["value"]
    # 1 of 40, 2 of 30, 10.25 of 40, 20.5 of 30 px
    assert [value[key] for key in ("x", "y", "width", "height")] == pytest.approx(
        [2.5, 6.6667, 25.625, 68.3333], abs=1e-4
    )
    assert tasks[2]["predictions"][0] == {"model_version": "net (detzoo predict)", "score": 0.0, "result": []}


def test_label_studios_own_converter_makes_a_dataset_of_it(written: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("label_studio_sdk")
    from label_studio_sdk.converter import Converter
    from label_studio_sdk.label_interface import LabelInterface

    caplog.set_level(logging.CRITICAL)
    config = (written / "label_studio.xml").read_text()
    interface = LabelInterface(config)
    interface.validate()
    tasks = json.loads((written / "label_studio.json").read_text())
    accepted = []
    for number, task in enumerate(tasks):
        (prediction,) = task["predictions"]
        assert interface.validate_task({"data": task["data"]})
        assert interface.validate_prediction(prediction, return_errors=True) == []
        accepted.append({
            "id": number,  # what a person who accepts all of them exports
            "data": {"image": str(written / "images" / unquote(task["data"]["image"].partition("=")[2]))},
            "annotations": [{"id": number, "created_at": 0, "result": prediction["result"]}],
        })  # fmt: skip
    export = written / "export.json"
    export.write_text(json.dumps(accepted))
    converter = Converter(config, project_dir=None, download_resources=False)
    converter.convert_to_coco(str(export), str(written / "coco"), is_dir=False)
    assert objects(written / "coco" / "result.json") == EXPECTED


def test_the_label_studio_file_of_addresses_keeps_them(tmp_path: Path) -> None:
    records = [record("https://example.org/x/a.jpg?size=1"), record("https://example.org/y/a.jpg")]
    told: list[str] = []
    write_pre_annotations(tmp_path, TOOLS, records, classes=CLASSES, model="net", report=told.append)
    tasks = json.loads((tmp_path / "label_studio.json").read_text())
    assert [task["data"]["image"] for task in tasks] == [one["file"] for one in records]
    assert (tmp_path / "cvat.xml").read_text().count("<image") == 1
    assert told == ["https://example.org/y/a.jpg: another image is called a.jpg too; it is left out of cvat.xml"]


def test_what_the_files_cannot_hold_is_told(tmp_path: Path) -> None:
    frames = [record("a.mp4", frame=number) for number in range(3)]
    mask = np.zeros((1, HEIGHT, WIDTH), np.bool_)
    mask[0, :4, :4] = mask[0, 10:20, 10:30] = True
    parted = record("a.jpg", ("Ä", [0.0, 0, 30, 20]))
    (parted["detections"][0]["segmentation"],) = run_lengths(mask)
    told: list[str] = []
    write_pre_annotations(tmp_path, TOOLS, [*frames, parted], classes=CLASSES, model="net", report=told.append)
    assert [message[:25] for message in told] == ["3 frames of videos are no", "1 masks of several parts:"]
    text = (tmp_path / "cvat.xml").read_text()
    assert text.count("<image") == 1
    # the larger part, 10 to 30 by 10 to 20 px, an eighth of a px inside
    assert 'points="10.12,10.12;10.12,19.88;29.88,19.88;29.88,10.12"' in text


def disc() -> NDArray[np.bool_]:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.asarray((x - 20) ** 2 + (y - 15) ** 2 <= 100, np.bool_)


def masked(tmp_path: Path) -> Path:
    """Files for an image with a disc, and an object whose mask is empty."""
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    one = record(tmp_path / "images" / "a.png", ("Ä", [10.0, 5, 31, 26]), ("Ä", [0.0, 0, 5, 5]))
    codes = run_lengths(np.stack([disc(), np.zeros((HEIGHT, WIDTH), np.bool_)]))
    for found, code in zip(one["detections"], codes, strict=True):
        found["segmentation"] = code
    write_pre_annotations(tmp_path, TOOLS, [one], classes=CLASSES, model="net", report=pytest.fail)
    return tmp_path


def test_masks_are_outlines(tmp_path: Path) -> None:
    folder = masked(tmp_path)
    sample = open_dataset(folder / "cvat.xml")[0]
    np.testing.assert_allclose(sample.boxes, np.array([[10.12, 5.12, 30.88, 25.88], [0.0, 0.0, 5.0, 5.0]]), atol=1e-4)
    assert sample.masks is not None
    drawn = sample.masks[0].astype(np.bool_)
    assert (drawn & disc()).sum() / (drawn | disc()).sum() > 0.98
    (task,) = json.loads((folder / "label_studio.json").read_text())
    outline, box = task["predictions"][0]["result"]
    assert (outline["type"], box["type"]) == ("polygonlabels", "rectanglelabels")
    points = np.array(outline["value"]["points"]) / 100 * (WIDTH, HEIGHT)
    assert (points.min(0).round(2).tolist(), points.max(0).round(2).tolist()) == ([10.12, 5.12], [30.88, 25.88])


def test_label_studios_sdk_accepts_outlines(tmp_path: Path) -> None:
    pytest.importorskip("label_studio_sdk")
    from label_studio_sdk.label_interface import LabelInterface

    folder = masked(tmp_path)
    interface = LabelInterface((folder / "label_studio.xml").read_text())
    interface.validate()
    (task,) = json.loads((folder / "label_studio.json").read_text())
    assert interface.validate_prediction(task["predictions"][0], return_errors=True) == []


def test_datumaro_reads_outlines(tmp_path: Path) -> None:
    datumaro = pytest.importorskip("datumaro")
    folder = masked(tmp_path)
    (folder / "label_studio.xml").unlink()
    (item,) = datumaro.Dataset.import_from(str(folder), "cvat")
    assert sorted(one.type.name for one in item.annotations) == ["bbox", "polygon"]


def test_nothing_to_write_is_fine(tmp_path: Path) -> None:
    write_pre_annotations(tmp_path, TOOLS, [], classes=CLASSES, model="net", report=pytest.fail)
    assert json.loads((tmp_path / "label_studio.json").read_text()) == []
    write_pre_annotations(tmp_path / "none", (), [], classes=CLASSES, model="net", report=pytest.fail)
    assert not (tmp_path / "none").exists()


def test_own_files_are_replaced_and_no_others(written: Path) -> None:
    check_replaceable(written, TOOLS)
    (written / "cvat.xml").write_text("<annotations></annotations>")
    check_replaceable(written, ("labelstudio",))
    with pytest.raises(DataError, match=r"cvat\.xml exists and was not written by detzoo predict"):
        check_replaceable(written, TOOLS)


def test_an_unknown_tool_is_named() -> None:
    assert check_tools(["cvat", "labelstudio", "cvat"]) == TOOLS
    with pytest.raises(DataError, match=r"label.studio.*labelstudio"):
        check_tools(["label-studio"])
