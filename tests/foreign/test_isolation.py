"""A foreign detector that misbehaves is told by name, and harms nothing but itself."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from detzoo.errors import SettingError
from detzoo.foreign.detector import ProcessDetector, load_foreign
from detzoo.foreign.errors import ForeignError
from detzoo.types import DetectionSettings
from tests.foreign.misbehaving import WAYS

FILE = Path(__file__).with_name("misbehaving.py")


def asked(way: str) -> NDArray[np.uint8]:
    """An image of 20 x 30 px that asks for a way to misbehave."""
    image = np.zeros((20, 30, 3), np.uint8)
    image[0, 0, 0] = WAYS.index(way)
    return image


@pytest.fixture(scope="module")
def detector() -> Iterator[ProcessDetector]:
    made = load_foreign(f"{FILE}:Misbehaving")
    yield made
    made.close()


TOLD = {
    "raises": r"ValueError: cannot see \(misbehaving\.py:\d+\)$",
    "nan": r"image\.png: 1 of 1 boxes are not finite, the first: \[2\.0, 3\.0, nan, 13\.0\]",
    "nan_scores": r"1 of 1 scores are not finite, the first: \[inf\]",
    "outside": r"1 of 2 boxes lie outside the image of 20x30 px, the first: \[200\.0, 3\.0, 220\.0, 13\.0\]",
    "relative": r"all 1 boxes lie within the first px.*are they relative\?",
    "turned": r"1 of 1 boxes end before they begin.*are they xywh\?",
    "shapes": r"image 0: boxes have the shape \[3, 5\]; expected \[N,4\]",
    "lengths": r"image 0: scores have the shape \[2\]; expected \[3\], one for each box",
    "labels": r"labels reach from 3 to 3; expected 0\.\.2.*count from 1",
    "halves": r"image 0: labels hold 0\.5; expected whole numbers",
    "logits": r"scores reach from 3\.7 to 3\.7; expected 0\.\.1 \(are they logits\?\)",
    "words": r"image 0: labels: list of <U3 is none of numbers",
    "nothing": r"returned nothing \(None\); expected a list of \(boxes \[N,4\], scores \[N\], labels \[N\]\)",
    "too_few": r"returned 0 results for 1 images",
    "leaves": r"SystemExit: 3",
}


@pytest.mark.parametrize("way", TOLD)
def test_what_it_gives_is_told_and_it_is_asked_again(detector: ProcessDetector, way: str) -> None:
    with pytest.raises(ForeignError, match=rf"misbehaving\.py:Misbehaving: .*{TOLD[way]}"):
        detector.detect_images([asked(way)], ["image.png"])
    image = asked("fine")
    (found,) = detector.detect_images([image])
    assert (found.boxes.tolist(), found.names) == ([[2.0, 3.0, 12.0, 13.0]], ["b"])
    assert not image[1:].any()  # it had a copy


ENDS = {
    "dies": r"its process was killed by SIGSEGV; its last words: out of memory in kernel$",
    "ends": r"its process ended by itself, with exit code 7$",
    "hangs": r"no answer within 0\.5 s, so it was ended; allow more with --set time_limit=SECONDS$",
}


def test_every_way_is_tested() -> None:
    assert {"fine", *TOLD, *ENDS} == set(WAYS)
    assert len(WAYS) > 10


@pytest.mark.parametrize("way", ENDS)
def test_its_end_is_told_each_time(way: str) -> None:
    detector = load_foreign(f"{FILE}:Misbehaving", {"time_limit": 0.5})
    assert detector.classes == ("a", "b", None)
    begin = time.monotonic()
    for _ in range(2):
        with pytest.raises(ForeignError, match=ENDS[way]):
            detector.detect_images([asked(way)])
    assert time.monotonic() - begin < 30


def test_its_process_ends_with_it() -> None:
    """With the object, and with a process that is killed: nobody is left behind."""
    code = (
        "import sys\nfrom detzoo.foreign.detector import load_foreign\n"
        f"made = load_foreign({str(FILE)!r} + ':make')\nmade.classes\n"
        "print(made._process._child.pid, flush=True)\nsys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        os.kill(child, 0)
        parent.kill()
    for _ in range(100):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            break
        time.sleep(0.1)
    else:
        raise AssertionError("it runs still")


def test_files_that_are_called_as_modules_of_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the current folder, which is looked in for the user's own module alone, once Python's are there."""
    for name in ("types", "json", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not this one')\n")
    (tmp_path / "mine.py").write_text("def detect(images):\n    return []\ndetect.names = ['a']\n")
    monkeypatch.chdir(tmp_path)
    assert load_foreign("mine:detect").classes == ("a",)


def test_settings(detector: ProcessDetector) -> None:
    assert detector.settings().given() == {"score_threshold": 0.2}
    assert detector.settings(DetectionSettings(keep=3)).given() == {"score_threshold": 0.2, "keep": 3}
    with pytest.raises(SettingError, match=r"nms_iou cannot be set: suppression is its own"):
        detector.settings(DetectionSettings(nms_iou=0.5))
    (found,) = detector.detect_images([asked("fine")], settings=DetectionSettings(score_threshold=0.6))
    assert (len(found), tuple(found.boxes.shape)) == (0, (0, 4))
    assert detector.detect_images([]) == []
    assert detector.processor_seconds > 0
    assert detector.transport > 0


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("broken_when_made", r"RuntimeError: weights are missing \(misbehaving\.py:\d+\)$"),
        ("leaves", r"SystemExit: no licence"),
        ("without_names", r"without_names has no class names: give it an attribute `names`.*--set classes=a,b,c"),
        ("WAYS", r"WAYS is tuple, which cannot be called"),
        ("Panted", r'it has no Panted; did you mean "Painted"\?'),
    ],
)
def test_what_cannot_be_loaded(name: str, told: str) -> None:
    detector = load_foreign(f"{FILE}:{name}")
    with pytest.raises(ForeignError, match=told):
        assert detector.classes
