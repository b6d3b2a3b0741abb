"""Results beside detectors: what is counted again, what is taken as it is, what is refused."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from detzoo.comparison.plan import ComparisonPlan
from detzoo.comparison.recorded import find_recorded
from detzoo.comparison.row_names import unique_names
from detzoo.comparison.run_comparison import compare
from detzoo.data import open_dataset
from detzoo.errors import DataError, DetzooError
from tests.comparison.result_folders import DATA, Compared, write_results


def rows_of(compared: Compared) -> dict[str, dict[str, Any]]:
    rows = json.loads((compared.out / "table.json").read_text())["rows"]
    return {row["name"]: row for row in rows}


def test_every_source_is_a_row(compared: Compared) -> None:
    assert compared.done.failures == {}
    rows = rows_of(compared)
    assert list(rows) == ["good", "fast", "elsewhere", "numbers", "theirs"]
    # The same detections, once counted here and once taken from results.json.
    assert rows["good"]["AP"] == pytest.approx(rows["numbers"]["AP"], abs=1e-12)
    assert rows["theirs"]["AP"] == rows["fast"]["AP"]
    assert (rows["good"]["architecture"], rows["good"]["backbone"], rows["good"]["input"]) == (
        "ssd",
        "resnet18",
        "128x128",
    )
    assert rows["theirs"]["architecture"] is None
    assert rows["good"]["latency_p99_ms"] == 120
    assert rows["numbers"]["latency_p50_ms"] is None


def test_an_empty_cell_says_why(compared: Compared) -> None:
    table = compared.done.table
    shown = {column.key: place for place, column in enumerate(table.shown)}
    numbers, theirs = table.cells()[3], table.cells()[4]
    assert (numbers[shown["latency_p50_ms"]], numbers[shown["gflops"]]) == ("not timed", "not recorded")
    assert (numbers[shown["params_m"]], theirs[shown["params_m"]]) == ("3.00", "not recorded")
    assert "numbers: not timed: no speed was recorded (results as recorded: numbers)" in table.notes
    assert "theirs: not timed: no speed was recorded (detections counted again: theirs.json)" in table.notes


def test_other_protocols_are_marked_in_every_form(compared: Compared) -> None:
    table = compared.done.table
    assert [table.marks[n]["AP"] for n in range(5)] == ["", "", "a", "", "b"]
    assert [table.marks[n]["latency_p50_ms"] for n in range(5)] == ["", "", "c", "", ""]
    assert "a: accuracy under another protocol: device cuda a GPU (the others: cpu some CPU)" in table.notes
    assert "c: times under another protocol: device cuda a GPU (the others: cpu some CPU, 2 threads)" in table.notes
    # The GPU's 1.0 ms is the least, but of another protocol: 10.0 is the best.
    assert "**10.0**" in table.markdown()
    assert "| 1.0ᶜ |" in table.markdown()
    assert "1.0ᶜ" in table.terminal()
    rows = rows_of(compared)
    assert rows["elsewhere"]["speed_protocol"].startswith(
        "device: cuda a GPU; precision: fp32; switches: none; batch: 1;"
    )
    assert rows["theirs"]["accuracy_protocol"].endswith(
        "device: not recorded; precision: not recorded; switches: not recorded; versions: not recorded"
    )
    assert "accuracy_protocol,speed_protocol" in table.csv().splitlines()[0]
    assert table.csv().count("cuda a GPU") == 2


def test_protocols_stand_in_a_table_of_their_own(compared: Compared) -> None:
    page = (compared.out / "table.md").read_text()
    assert "### Protocol of each row" in page
    assert "| good | detections counted again: good | 128x128 | 0.01 | not recorded |" in page


def test_reported_numbers_stand_beside(compared: Compared) -> None:
    assert rows_of(compared)["good"]["reported: AP, shapes"] == "0.9"
    assert "reported, not measured here: good, AP on shapes: 0.9 (COCO; a paper)" in compared.done.table.notes


def test_paths_stay_at_home(compared: Compared) -> None:
    for path in compared.done.files:
        if path.suffix != ".png":
            assert str(compared.out.parent) not in path.read_text()


def test_a_second_call_counts_nothing_again(compared: Compared, tmp_path: Path) -> None:
    shutil.copytree(compared.out, tmp_path / "out")
    targets = [str(path) for path in compared.sources.values()]
    plan = ComparisonPlan(targets=targets, data=DATA, out=tmp_path / "out", examples=0)
    said: list[str] = []
    compare(plan, said.append)
    assert said == [f"{name}: already done" for name in compared.sources]
    # Half-written parts are no parts: counted again, and the same comes out.
    lost = tmp_path / "out" / "detectors" / "fast"
    (lost / "numbers.json").write_text('{"key": ')
    (lost / "detections.json").write_text("[")
    (lost / "results.json.partial").write_text("{")
    again = compare(plan, said.append)
    assert said[5:] == [
        "good: already done",
        f"fast: counting the detections of {compared.sources['fast']}/detections.json",
        *(f"{name}: already done" for name in ("elsewhere", "numbers", "theirs")),
    ]
    assert again.table.json() == compared.done.table.json()


def test_changed_files_are_counted_again(compared: Compared, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.json"
    rows = json.loads(compared.sources["theirs"].read_text())
    plan = ComparisonPlan(targets=[str(theirs)], data=DATA, out=tmp_path / "out", examples=0)
    theirs.write_text(json.dumps(rows))
    before = compare(plan).entries[0].results["counts"]["detections"]
    theirs.write_text(json.dumps(rows[:-1]))
    assert compare(plan).entries[0].results["counts"]["detections"] == before - 1
    # A folder that had detections and now has numbers alone keeps no images of before.
    theirs.unlink()
    shutil.copytree(compared.sources["numbers"], tmp_path / "theirs")
    (entry,) = compare(ComparisonPlan(targets=[str(tmp_path / "theirs")], data=DATA, out=tmp_path / "out")).entries
    assert (entry.detections, entry.analysis) == (None, {})


def refusal(target: Path, tmp_path: Path, data: str = DATA) -> str:
    with pytest.raises(DetzooError) as caught:
        compare(ComparisonPlan(targets=[str(target)], data=data, out=tmp_path / "refused", examples=0))
    message = str(caught.value)
    assert message.startswith(f"{target}: ")
    return message.removeprefix(f"{target}: ")


def test_results_of_other_data_are_refused(compared: Compared, tmp_path: Path) -> None:
    numbers = compared.sources["numbers"]
    assert refusal(numbers, tmp_path, DATA.replace("test=6", "test=5")) == (
        f"{numbers / 'results.json'} was measured on other data: images 6 there, 5 in shapes test; numbers of "
        "different data do not belong into one table. Evaluate again with: detzoo eval DETECTOR --data DATA "
        "--split test --out DIR"
    )


def test_detections_that_are_not_those_of_the_results_are_refused(compared: Compared, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(compared.sources["good"], mixed)
    shutil.copy(compared.sources["theirs"], mixed / "detections.json")
    assert refusal(mixed, tmp_path) == (
        f"{mixed / 'results.json'} says AP 0.8365, but the detections next to it give 0.1499 on shapes test: they do "
        "not belong together, or the dataset has changed"
    )


@pytest.mark.parametrize(
    ("part", "text", "message"),
    [
        ("results.json", "{}", "{} is no result of detzoo eval (its format is not detzoo.results/1)"),
        ("results.json", "{", "{}:1: not valid JSON: Expecting property name enclosed in double quotes"),
        ("results.json", "[" * 100_000, "{}: not valid JSON: nested too deeply"),
        ("results.json", '{"format": "detzoo.results/1", "data": 1, "metrics": {"AP": "a"}}',
         "{}: altered or damaged; evaluate again: data is 1, metrics is {'AP': 'a'}"),
        ("numbers.json", "[]", "{}: altered or damaged; take it away or compare again: a list, not a JSON object"),
        ("numbers.json", '{"facts": {"colour": 1}}',
         "{}: altered or damaged; take it away or compare again: facts is {'colour': 1}"),
        ("recipe.yaml", "detectors: {}", "{} is not the recipe of one detector, as detzoo train writes it next to a "
         "run; mend it or take it away"),
        ("benchmark.json", "[1]", "{} is not one detector of: detzoo bench DETECTOR --json"),
        ("detections.json", "[1]", "{}: row 1 is not an object; a COCO result file is a list of objects with image_id, "
         "category_id, bbox and score"),
    ],
)  # fmt: skip
def test_files_that_are_something_else(compared: Compared, tmp_path: Path, part: str, text: str, message: str) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(compared.sources["good"], folder)
    (folder / part).write_text(text)
    assert refusal(folder, tmp_path) == message.replace("{}", str(folder / part), 1)


def test_a_row_of_the_comparison_itself_is_refused(compared: Compared) -> None:
    own = compared.out / "detectors" / "good"
    with pytest.raises(DataError) as caught:
        compare_into(compared.out, own)
    assert str(caught.value) == (
        f"{own} lies in this comparison itself; give its detector again, or another folder for --out"
    )


def compare_into(out: Path, target: Path) -> None:
    from detzoo.comparison.recorded import take_recorded

    recorded = find_recorded(str(target))
    assert recorded is not None
    dataset = open_dataset(DATA, "test")
    plan = ComparisonPlan(targets=[str(target)], data=DATA, out=out)
    take_recorded(plan, recorded, target.name, out / "detectors" / target.name, dataset, lambda _: None)


def test_a_row_of_another_comparison_brings_its_speed(compared: Compared, tmp_path: Path) -> None:
    plan = ComparisonPlan(targets=[str(compared.out / "detectors" / "good")], data=DATA, out=tmp_path, examples=0)
    (entry,) = compare(plan).entries
    assert entry.benchmark["row"]["latency_p50_ms"] == 40
    assert entry.facts.architecture == "ssd"


def test_what_is_a_result_and_what_is_not(tmp_path: Path) -> None:
    assert find_recorded("ssd300_vgg16_voc") is None
    assert find_recorded(str(tmp_path)) is None
    run = write_results(tmp_path / "run", open_dataset(DATA, "test"), [], architecture="ssd", side=64)
    found = find_recorded(str(run))
    assert found is not None
    assert set(found.files) == {"results.json", "detections.json", "recipe.yaml"}
    (run / "last.safetensors").write_bytes(b"")
    assert find_recorded(str(run)) is None  # a run that was evaluated is still a run


def test_names_of_results() -> None:
    targets = ["runs/a/test/results.json", "theirs.json", "b/detections.json", "theirs"]
    assert unique_names(targets) == ["test", "theirs", "b", "theirs-2"]


def test_results_inside_a_run_take_its_name_its_recipe_and_its_curve(compared: Compared, tmp_path: Path) -> None:
    run = tmp_path / "mine"
    shutil.copytree(compared.sources["good"], run / "test")
    for part in ("recipe.yaml", "curve.csv"):
        (run / "test" / part).rename(run / part)
    (run / "last.safetensors").write_bytes(b"")  # what makes it a run; its weights are not looked at
    (entry,) = compare(ComparisonPlan(targets=[str(run / "test")], data=DATA, out=tmp_path / "out", examples=0)).entries
    assert (entry.name, entry.facts.architecture, entry.run) == ("mine", "ssd", run)


def test_packed_detections_stand_for_plain_ones(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("{}")
    (tmp_path / "detections.json.gz").write_bytes(gzip.compress(b"[]"))
    found = find_recorded(str(tmp_path))
    assert found is not None
    assert found.files["detections.json"].name == "detections.json.gz"
    assert unique_names([str(tmp_path / "detections.json.gz"), "theirs.json.gz"]) == [tmp_path.name, "theirs"]
