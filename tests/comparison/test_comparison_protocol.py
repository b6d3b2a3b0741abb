"""Which rows share a protocol, and how the others are marked."""

from __future__ import annotations

from detzoo.comparison.protocol import accuracy_protocol, device_words, marked, speed_protocol


def test_no_rows_and_no_differences() -> None:
    assert marked([], "ab") == ([], [])
    assert marked([None, None], "ab") == (["", ""], [])
    assert marked([{"device": "cpu"}, None, {"device": "cpu"}], "ab") == (["", "", ""], [])


def test_the_most_common_protocol_has_no_mark() -> None:
    cpu = {"device": "cpu", "precision": "fp32"}
    gpu = {"device": "gpu", "precision": "fp32"}
    half = {"device": "gpu", "precision": "fp16"}
    marks, notes = marked([gpu, cpu, None, half, cpu, gpu, cpu], "xyz")
    assert marks == ["x", "", "", "y", "", "x", ""]
    assert notes == [
        ("x", "device gpu (the others: cpu)"),
        ("y", "device gpu (the others: cpu); precision fp16 (the others: fp32)"),
    ]


def test_of_two_the_first_has_no_mark() -> None:
    assert marked([{"device": "gpu"}, {"device": "cpu"}], "a")[0] == ["", "a"]


def test_what_is_not_known_says_so() -> None:
    assert speed_protocol({}) is None
    assert accuracy_protocol({})["versions"] == "not recorded"
    assert accuracy_protocol({})["switches"] == "not recorded"
    assert device_words({"type": "cpu", "name": "CPU", "threads": 1}) == "cpu CPU, 1 thread"
    assert device_words({"type": "cpu", "name": "CPU", "threads": 1}, threads=False) == "cpu CPU"


def test_the_engine_is_no_other_protocol() -> None:
    assert accuracy_protocol({"protocol": {"engine": "faster"}}) == accuracy_protocol(
        {"protocol": {"engine": "pycocotools"}}
    )
