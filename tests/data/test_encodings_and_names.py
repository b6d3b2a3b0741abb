"""Text in other encodings, and names that are none: read where they can mean one thing, else one message."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from detzoo.data import list_splits, open_dataset
from detzoo.data.checking.check import check
from detzoo.errors import DataError
from detzoo.runtime.foreign_files import lines_of
from detzoo.runtime.report_text import terminal_text
from tests.campaign import valid_datasets
from tests.campaign.mutations import Files

TEXTS: Final = (".json", ".xml", ".csv", ".txt", ".yaml")


def tools() -> dict[str, Files]:
    labelme, cvat, via, open_images = valid_datasets.tool_sets()
    coco, voc, yolo = valid_datasets.coco_sets()[0], valid_datasets.voc_sets()[0], valid_datasets.yolo_sets()
    return {
        "labelme": labelme, "cvat": cvat, "via": via, "open images": open_images, "coco": coco, "voc": voc,
        "yolo's data.yaml": yolo[0], "yolo's list": yolo[2], "yolo's classes.txt": yolo[3],
    }  # fmt: skip


def write(folder: Path, files: Files, change: Callable[[str], bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(change(data.decode()) if path.suffix in TEXTS else data)
    return folder


def contents(folder: Path) -> dict[str, tuple[int, list[list[float]]]]:
    opened = {name: open_dataset(folder, name, quiet=True) for name in list_splits(folder)}
    return {name: (len(data), data.annotations().boxes.tolist()) for name, data in opened.items()}


@pytest.mark.parametrize("kind", tools())
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_mark_says_the_encoding(tmp_path: Path, kind: str, encoding: str) -> None:
    plain = contents(write(tmp_path / "plain", tools()[kind], str.encode))
    assert sum(boxes for boxes, _ in plain.values()) > 0
    assert contents(write(tmp_path / "other", tools()[kind], lambda text: text.encode(encoding))) == plain


@pytest.mark.parametrize("kind", [kind for kind in tools() if kind not in ("cvat", "voc")])  # xml shows what it is
def test_utf_16_without_a_mark_is_named(tmp_path: Path, kind: str) -> None:
    folder = write(tmp_path, tools()[kind], lambda text: text.encode("utf-16-le"))
    with pytest.raises(DataError, match="NUL characters"):
        contents(folder)


@pytest.mark.parametrize("encoding", ["latin-1", "gbk"])
@pytest.mark.parametrize("kind", [kind for kind in tools() if kind not in ("voc", "open images", "yolo's list")])
def test_other_encodings_are_named(tmp_path: Path, kind: str, encoding: str) -> None:
    name = {"latin-1": "B\xe4r", "gbk": "\u82f9\u679c"}[encoding]
    folder = write(tmp_path, tools()[kind], lambda text: text.replace("dog", name).encode(encoding))
    with pytest.raises(DataError, match=r"not UTF-8: byte \d+ is 0x"):
        contents(folder)


@pytest.mark.parametrize("encoding", ["GBK", "gb18030", "EUC-JP", "Shift_JIS"])
def test_an_xml_that_declares_several_bytes_a_letter_is_read(tmp_path: Path, encoding: str) -> None:
    head = f'<?xml version="1.0" encoding="{encoding}"?>'
    files = {name: data for name, data in tools()["voc"].items() if name != "ImageSets/Main/val.txt"}

    def written(text: str) -> bytes:
        return (text if text[0] != "<" else head + text.replace("dog", "\u732b")).encode(encoding)

    assert "\u732b" in open_dataset(write(tmp_path / "declared", files, written)).classes
    wrong = write(tmp_path / "wrong", files, lambda text: written(text) + b"\xff\xff" * (text[0] == "<"))
    with pytest.raises(DataError, match=f"not {encoding.upper().replace('-', '_')}, as the file declares"):
        open_dataset(wrong)


IMPOSSIBLE: Final = {
    "c\x1b[31mat": r"'\x1b'", "c\nat": r"'\n'", "c\0at": r"'\x00'", "c\ud800at": r"'\ud800'", "c\u2028at": r"'\u2028'",
    "": "is empty", " ": "is empty", "c" * 251: "has 251 characters",
}  # fmt: skip


@pytest.mark.parametrize("name", IMPOSSIBLE, ids=[repr(name)[:12] for name in IMPOSSIBLE])
@pytest.mark.parametrize("kind", ["coco", "labelme", "yolo's data.yaml"])
def test_a_class_name_that_nothing_can_show(tmp_path: Path, kind: str, name: str) -> None:
    quoted = json.dumps(name).encode()
    files = {
        path: data.replace(b'"cat"', quoted).replace(b"0: cat", b"0: " + quoted) for path, data in tools()[kind].items()
    }
    folder = write(tmp_path, files, str.encode)
    if kind == "labelme" and not name:  # a shape without a class, not a class without a name
        assert {problem.code for problem in check(folder) if problem.severity == "error"} == {"unknown-class"}
        return
    with pytest.raises(DataError, match="the class name") as caught:
        contents(folder)
    assert IMPOSSIBLE[name] in str(caught.value)
    assert check(folder)[0].code == "unreadable"


def test_a_class_that_nothing_can_show_may_be_left_out(tmp_path: Path) -> None:
    folder = write(tmp_path, tools()["coco"], lambda text: text.replace('"cat"', json.dumps("c\0at")).encode())
    own = (
        "format: coco\nclasses: [dog]\nsplits: {train: {annotations: annotations/instances_train.json, images: train}}"
    )
    (folder / "data.yaml").write_text(own)
    assert open_dataset(folder / "data.yaml").classes == ("dog",)


@pytest.mark.parametrize("letter", ["\u2028", "\x85", "\x0b", "\x1c"])
def test_lists_name_files_with_letters_that_end_a_line_elsewhere(tmp_path: Path, letter: str) -> None:
    """``str.splitlines`` would make two names of each."""
    files = {name.replace("a.", f"a{letter}b."): data for name, data in tools()["yolo's list"].items()}
    folder = write(tmp_path / "yolo", files, lambda text: text.replace("a.png", f"a{letter}b.png").encode())
    assert [len(open_dataset(folder, name)) for name in ("train", "val")] == [2, 3]
    files = {name.replace("a.", f"a{letter}b."): data for name, data in tools()["voc"].items()}
    files["ImageSets/Main/train.txt"] = f"a{letter}b\nb\n".encode()
    assert len(open_dataset(write(tmp_path / "voc", files, str.encode), "train")) == 2


def test_lines() -> None:
    assert lines_of("") == []
    assert lines_of("a") == lines_of("a\n") == ["a"]
    assert lines_of("\n") == [""]
    assert lines_of("a\r\nb\rc\n\nd\u2028e") == ["a", "b", "c", "", "d\u2028e"]


def test_a_split_without_a_usable_image_stands_at_its_dataset(tmp_path: Path) -> None:
    folder = write(
        tmp_path, {"x.xml": b"<annotation><object>", "x.png": valid_datasets.encoded("PNG", 8, 8)}, str.encode
    )
    (problem,) = check(folder)
    assert (problem.path, problem.line) == (str(folder), None)
    assert str(folder / "x.xml") in problem.message


def test_a_terminal_gets_no_control_characters() -> None:
    assert terminal_text("a\x1b[31m\x07\x9b\r\n\tb\ud800\u540d") == "a\\x1b[31m\\x07\\x9b\\x0d\n\tb\\ud800\u540d"
