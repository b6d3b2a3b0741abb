"""Tables: the same rows in four forms."""

from __future__ import annotations

import json
import math

from detzoo.runtime.text_table import (
    FEW,
    MEASURED,
    Column,
    Table,
    percent,
    protocol_note,
    reported_columns,
    reported_notes,
)

ROWS = [
    {"name": "ssd300", "AP": 0.4831, "latency_p50_ms": 45.25, "APs": math.nan, "params_m": 24.0},
    {"name": "a|b", "AP": 0.5, "latency_p50_ms": 20.0, "params_m": 3.4},
]
TABLE = Table("bccd test", MEASURED, ROWS, ["batch 1"])


def test_no_rows() -> None:
    empty = Table("nothing", MEASURED, [])
    assert empty.csv() == "\n"
    assert json.loads(empty.json()) == {"title": "nothing", "rows": [], "notes": []}
    assert empty.terminal() == "nothing\n\n"
    assert empty.markdown().startswith("### nothing")


def test_markdown() -> None:
    assert TABLE.markdown() == (
        "### bccd test\n"
        "\n"
        "| detector | AP % | p50 ms | params M |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| ssd300 | 48.3 | 45.2 | 24.00 |\n"
        "| a\\|b | **50.0** | **20.0** | 3.40 |\n"
        "\n"
        "- batch 1\n"
    )


def test_csv_and_json_keep_the_values() -> None:
    assert TABLE.csv() == "name,AP,latency_p50_ms,params_m\nssd300,0.4831,45.25,24.0\na|b,0.5,20.0,3.4\n"
    rows = json.loads(TABLE.json())["rows"]
    assert rows[0] == {"name": "ssd300", "AP": 0.4831, "latency_p50_ms": 45.25, "params_m": 24.0}


def test_terminal_folds_wide_tables() -> None:
    assert TABLE.terminal(20) == (
        "bccd test\n"
        "\n"
        "detector  AP %\n"
        "--------------\n"
        "ssd300    48.3\n"
        "a|b       50.0\n"
        "\n"
        "detector  p50 ms\n"
        "----------------\n"
        "ssd300      45.2\n"
        "a|b         20.0\n"
        "\n"
        "detector  params M\n"
        "------------------\n"
        "ssd300       24.00\n"
        "a|b           3.40\n"
        "  batch 1"
    )
    assert len(TABLE.terminal(200).splitlines()) == 7


def test_no_best_of_few_objects() -> None:
    rows = [{"name": "a", "AP": 0.4, "APm": 0.1}, {"name": "b", "AP": 0.5, "APm": 0.6}]
    columns = [Column("name", "name", None), percent("AP", "AP %"), percent("APm", "APm %")]
    for count, best in ((FEW, {1}), (FEW - 1, set())):
        table = Table("t", columns, rows, counts={"AP": 500, "APm": count})
        assert table.best_rows(columns[1]) == {1}
        assert table.best_rows(columns[2]) == best
        assert f"| APm % (n={count}) |" in table.markdown()
        assert f"APm % (n={count})" in table.terminal()
    assert table.csv().splitlines()[0] == "name,AP,APm"  # files keep their keys


def test_a_column_that_is_always_shown() -> None:
    columns = [Column("name", "name", None), Column("epochs", "epochs", 0, always=True)]
    table = Table("t", columns, [{"name": "a"}], absent=[{"epochs": "not recorded"}])
    assert table.cells() == [["a", "not recorded"]]
    assert Table("t", columns, []).shown == []


def test_missing_values_are_dashes() -> None:
    table = Table("t", [Column("name", "name", None), percent("AP", "AP")], [{"name": "a", "AP": 0.1}, {"name": "b"}])
    assert table.cells() == [["a", "10.0"], ["b", "–"]]


def test_reported_numbers_have_columns_and_protocols_of_their_own() -> None:
    entry = {
        "dataset": "VOC 2007 test",
        "metric": "VOC07 AP50",
        "value": 77.2,
        "protocol": "11-point",
        "source": "Caffe README",
    }
    guess = entry | {"value": 68.0, "verified": False}
    columns, cells = reported_columns([[entry], [], [guess]])
    assert [c.key for c in columns] == ["reported: VOC07 AP50, VOC 2007 test"]
    assert [c.get(columns[0].key) for c in cells] == ["77.2", None, "68 (unverified)"]
    assert not {c.key for c in columns} & {c.key for c in MEASURED}
    assert reported_notes(["ssd300"], [[entry]]) == [
        "reported, not measured here: ssd300, VOC07 AP50 on VOC 2007 test: 77.2 (11-point; Caffe README)"
    ]


def test_protocol_note() -> None:
    protocol = {
        "timed": "image -> detections",
        "batch": 8,
        "precision": "bf16",
        "compile": True,
        "channels_last": False,
        "rounds": 50,
        "warmup": 10,
        "image_sizes": ["480x640"],
        "device": {"name": "some CPU", "threads": 2},
        "versions": {"torch": "2.15.0"},
    }
    assert protocol_note(protocol) == (
        "times: batch 8, bf16, compile, 50 rounds after 10 warm-up, images 480x640; image -> detections; "
        "some CPU, 2 threads; torch 2.15.0"
    )
