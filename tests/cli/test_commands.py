"""The commands that need no torch: help, list, show, diff, plugins, registry, schema."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
import yaml

from detzoo import __version__
from detzoo.cli import COMMANDS, main
from detzoo.plugins.listing import render
from detzoo.plugins.registry import Registry, get_registry

TOY_ZOO = Path(__file__).parents[1] / "toy_zoo"
MANIFEST = TOY_ZOO / "toy_zoo" / "registry.yaml"
Run: TypeAlias = Callable[..., tuple[int, str, str]]


def process(*arguments: str, code: str = "") -> subprocess.CompletedProcess[str]:
    """Run ``detzoo`` in a process of its own, with the toy plugin installed."""
    start = ["-c", code] if code else ["-m", "detzoo"]
    environment = os.environ | {"PYTHONPATH": str(TOY_ZOO), "DETZOO_PLUGINS": "toy", "COLUMNS": "120"}
    return subprocess.run(
        [sys.executable, *start, *arguments], env=environment, capture_output=True, text=True, check=False
    )


HELP_WITHOUT_TORCH = """
import sys
from detzoo.cli import main
from detzoo.plugins.listing import render
try:
    main()
finally:
    heavy = {"torch", "torchvision", "cv2", "accelerate", "matplotlib"} & set(sys.modules)
    print("loaded:", sorted(heavy), file=sys.stderr)
"""


def test_help_lists_all_commands_without_torch() -> None:
    done = process("--help", code=HELP_WITHOUT_TORCH)

    assert done.returncode == 0
    assert done.stderr.strip() == "loaded: []"
    listed = [line.split()[0] for line in done.stdout.partition("Commands:")[2].splitlines() if line[:3].strip()]
    assert [name for name in listed if name in (*COMMANDS, "toy-greet")] == [*COMMANDS, "toy-greet"]


@pytest.mark.parametrize(
    "command", ["train toy_detector --data shapes:train=2,val=2,size=64", "new-plugin mine --kind loss"]
)
def test_a_folder_that_cannot_be_made(command: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, _, err = run(*command.split(), "--out", str(tmp_path / "file" / "out"))
    assert code == 2
    assert err.startswith(f"error: {tmp_path / 'file' / 'out'}")
    assert err.endswith(": Not a directory; a part of the path is a file; name another place\n")


def test_a_key_that_stands_further_down(run: Run) -> None:
    code, out, err = run("show", "toy_detector", "--set", "lr=0.1")
    assert (code, err) == (0, "")
    assert yaml.safe_load(out)["detectors"]["toy_detector"]["train"]["optimizer"]["lr"] == 0.1


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, run: Run) -> None:
    code, out, err = run(name, "--help")

    assert (code, err) == (0, "")
    assert out.startswith("Usage: ")
    summary = out.splitlines()[2].strip()
    assert summary[:1].isupper()


def test_listing_as_a_process_of_its_own() -> None:
    done = process("list")

    assert done.returncode == 0
    assert done.stderr == ""
    assert [line.split()[0] for line in done.stdout.splitlines()[:3]] == ["toy", "toy_child", "toy_detector"]


def test_version(run: Run) -> None:
    assert run("--version") == (0, f"detzoo {__version__}\n", "")


def test_an_unknown_command_gets_the_nearest(run: Run) -> None:
    code, out, err = run("lst")

    assert (code, out) == (2, "")
    assert 'Error: unknown command "lst"; did you mean "list"? allowed: ' in err


def test_an_unknown_option_gets_the_nearest(run: Run) -> None:
    code, out, err = run("list", "--knd", "head")

    assert (code, out) == (2, "")
    assert "No such option: --knd" in err
    assert "--kind" in err


def test_a_missing_argument(run: Run) -> None:
    code, out, err = run("show")

    assert (code, out) == (2, "")
    assert "Missing argument" in err


def test_list_shows_the_rows_that_hold_all_words(run: Run) -> None:
    names = [line.split()[0] for line in run("list")[1].splitlines() if line.startswith("  toy")]
    word = names[0].split("_")[0]
    shown = run("list", word.upper())[1].splitlines()
    assert shown[1].split()[0] == names[0]
    assert "pip install" not in "".join(shown)
    assert run("list", word, "zebra") == (
        2,
        "",
        f"error: none of the {len(names)} rows holds '{word}' and 'zebra'; `detzoo list` shows all\n",
    )


def test_list_of_a_word_that_names_a_component(run: Run) -> None:
    code, out, err = run("list", "max_iou")
    assert (code, out) == (2, "")
    assert err.endswith("`detzoo list` shows all; `detzoo list --kind matcher` has matcher max_iou\n")


def test_list(run: Run) -> None:
    assert run("list")[1].splitlines()[:3] == [
        "toy",
        "  toy_child     boxes",
        "  toy_detector  boxes  Toys test AP50 12.5",
    ]


def test_list_wide(run: Run) -> None:
    assert run("list", "--wide")[1].splitlines()[:3] == [
        "name          plugin  gives  profile  reported             summary",
        "toy_child     toy     boxes  modern                        a child of it",
        "toy_detector  toy     boxes  modern   Toys test AP50 12.5  the smallest detector that has every part",
    ]


@pytest.mark.parametrize("arguments", [["list"], *(["list", "--kind", kind] for kind in ("head", "loss", "backbone"))])
def test_list_fits_100_columns_whatever_is_installed(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "detzoo", *arguments], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) > 5
    assert max(map(len, lines)) <= 100


def test_the_best_reported_result_is_that_of_coco_s_ap(run: Run, toy_registry: Registry) -> None:
    rows = [{"name": "a", "plugin": "p", "gives": "boxes", "reported": ["COCO AP 37", "COCO AP50 58", "COCO AP 39.3"]}]
    assert render(rows, {}).splitlines() == ["p", "  a  boxes  COCO AP 39.3"]
    rows[0]["reported"] = ["VOC 2007 test VOC07 AP50 75.1", "VOC 2007 test VOC07 AP50 78.9"]
    assert render(rows, {}).splitlines()[1] == "  a  boxes  VOC 2007 test VOC07 AP50 78.9"


def test_list_json(run: Run, toy_registry: Registry) -> None:
    toy_registry.__dict__["installable"] = {
        "lasso": {"distribution": "detzoo-lasso", "components": {}, "detectors": {"lassonet": "x"}}
    }

    code, out, err = run("list", "--json")

    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["not_installed"] == {"detzoo-lasso": ["lassonet"]}
    assert found["installed"][1] == {
        "name": "toy_detector",
        "plugin": "toy",
        "gives": "boxes",
        "profile": "modern",
        "reported": ["Toys test AP50 12.5"],
        "weights": ["toys"],
        "summary": "the smallest detector that has every part",
    }


def test_list_json_has_one_shape_whatever_is_missing(run: Run, toy_registry: Registry) -> None:
    toy_registry.__dict__["installable"] = {}

    assert set(json.loads(run("list", "--json")[1])) == {"installed", "not_installed"}


def test_list_says_what_could_be_installed(run: Run, toy_registry: Registry) -> None:
    toy_registry.__dict__["installable"] = {
        "lasso": {"distribution": "detzoo-lasso", "components": {}, "detectors": {"lassonet": "x", "lassolite": "y"}}
    }

    assert run("list")[1].splitlines()[-2:] == [
        "not installed: lassolite, lassonet",
        "    pip install detzoo-lasso",
    ]


def test_list_kind(run: Run) -> None:
    code, out, _ = run("list", "--kind", "head")
    assert (code, out.splitlines()) == (
        0,
        [
            "name      plugin  summary",
            "toy_head  toy     A 1x1 predictor for classes and one for boxes, shared by all levels",
        ],
    )

    rows = json.loads(run("list", "--kind", "head", "--json")[1])
    assert rows == [
        {
            "name": "toy_head",
            "plugin": "toy",
            "summary": "A 1x1 predictor for classes and one for boxes, shared by all levels",
            "target": "toy_zoo.components:ToyHead",
        }
    ]


def test_list_of_a_kind_that_has_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETZOO_DISABLE", "toy")
    get_registry.cache_clear()

    assert run("list", "--kind", "head")[:2] == (0, "nothing is installed here\n")


def test_list_of_an_unknown_kind(run: Run) -> None:
    code, out, err = run("list", "--kind", "heads")

    assert (code, out) == (2, "")
    assert err.startswith(
        'error: unknown kind "heads"; did you mean "head" or "roi_head"? allowed: anchors, architecture, backbone, '
    )


def test_show_json_and_set(run: Run) -> None:
    code, out, err = run("show", "toy_detector", "--json", "--set", "train.batch=7", "--set", "loss.box.type=giou")

    assert (code, err) == (0, "")
    values = json.loads(out)
    assert (values["train"]["batch"], values["loss"]["box"]) == (7, {"type": "giou"})


def test_show_gives_a_file_that_diff_finds_equal(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(run("show", "toy_detector")[1])

    assert run("diff", "toy_detector", str(path)) == (0, "no difference\n", "")
    assert run("diff", "toy_detector", str(path) + "#toy_detector")[1] == "no difference\n"
    (tmp_path / "recipe.yaml").write_text(run("show", "toy_detector", "--set", "train.batch=5")[1])
    assert run("diff", "toy_detector", str(tmp_path))[1] == "train.batch: 4 -> 5\n"


def test_show_why(run: Run) -> None:
    lines = run("show", "toy_child", "--why", "--set", "train.batch=5")[1].splitlines()

    assert lines[0] == "layers: toy/toy_child <- toy/toy_detector"
    assert next(line for line in lines if line.startswith("train.batch ")).endswith("  --set train.batch")


def test_plugins(run: Run) -> None:
    code, out, err = run("plugins")

    assert (code, err) == (0, "")
    assert [line.split()[:2] for line in out.splitlines()] == [["core", "ok"], ["toy", "not-loaded"]]
    rows = json.loads(run("plugins", "--json")[1])
    assert rows[1] == {
        "name": "toy",
        "status": "not-loaded",
        "distribution": "toy-zoo 1.2",
        "holds": "4 components, 2 detectors",
        "message": "",
        "trace": "",
    }


def test_plugins_check_loads_everything(run: Run, toy_registry: Registry) -> None:
    code, _, err = run("plugins", "check")

    assert (code, err) == (0, "")
    assert toy_registry.plugins.records["toy"].status == "ok"


def test_plugins_check_leaves_with_1_and_prints_the_traceback(run: Run, toy_registry: Registry) -> None:
    toy_registry.plugins.records["toy"].module = "toy_zoo.gone"

    code, out, err = run("plugins", "check")

    assert code == 1
    assert "broken" in out
    assert "    Traceback (most recent call last):" in out
    assert err.splitlines()[0] == (
        "plugin toy (toy-zoo 1.2) is broken: importing toy_zoo.gone failed: ModuleNotFoundError: "
        "No module named 'toy_zoo.gone'; see `detzoo plugins check` for details"
    )


def test_a_plugin_s_command(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("toy-greet", "--name", "you") == (0, "hello you\n", "")


def test_a_plugin_that_fails_to_add_its_command_stops_no_other(run: Run, toy_registry: Registry) -> None:
    toy_registry.plugins.records["toy"].module = "toy_zoo.gone"

    code, _, err = run("toy-greet")

    assert code == 2
    assert 'Error: unknown command "toy-greet"; allowed: ' in err
    assert run("list")[0] == 0


def test_the_toy_plugin_s_schemas_are_those_of_its_classes(run: Run) -> None:
    """The check of ``registry sync --check``, on the toy plugin alone: the core's is a test of its own."""
    from detzoo.plugins.sync import Synced, sync

    assert sync(["toy"], write=False, registry=get_registry()) == Synced(("toy",), (), ())


def test_an_error_of_detzoo_s_own_shows_its_traceback_with_debug(
    monkeypatch: pytest.MonkeyPatch, toy_registry: Registry
) -> None:
    from detzoo.errors import RecipeError

    monkeypatch.setenv("DETZOO_DEBUG", "1")
    monkeypatch.setattr(sys, "argv", ["detzoo", "show", "nothing"])

    with pytest.raises(RecipeError):
        main()


def test_a_closed_pipe_is_told_once() -> None:
    code = "import sys; sys.argv = ['detzoo', 'schema']; from detzoo.cli import main; main()"
    environment = os.environ | {"PYTHONPATH": str(TOY_ZOO), "DETZOO_PLUGINS": "toy"}
    reader, writer = os.pipe()
    os.close(reader)  # it has ended before anything is printed
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)

    assert done.returncode == 1
    assert done.stderr.startswith("error: standard output: ")
    assert done.stderr.count("\n") == 1
