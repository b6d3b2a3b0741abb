"""Broken recipe files, each with the whole message that a user reads.

``files/NAME.yaml`` is broken, ``expected/NAME.txt`` is the message. In it, ``{installed:head}`` stands for the names of
all installed heads and ``{keys:train}`` for the keys of a settings class, which grow with the zoo. Paths are shown
without their folder.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from detzoo.builder import build
from detzoo.cli import main
from detzoo.errors import DetzooError, RecipeError
from detzoo.plugins.registry import Registry
from detzoo.recipes.recipe import load_recipe

HERE: Final = Path(__file__).parent
FILES: Final = HERE / "files"
NAMES: Final = sorted(path.stem for path in (HERE / "expected").glob("*.txt"))
TARGETS: Final = {
    "extends_cycle": "extends_cycle.yaml#one",
    "several_detectors_unknown_name": "several_detectors_unknown_name.yaml#cell",
    "extends_cycle_over_files": "extends_cycle_over_files.yaml#mine",
}
"""What is asked for, where it is not the file alone."""
AT_BUILD: Final = frozenset(
    "empty_levels epochs_and_steps freeze_matches_nothing input_does_not_fit missing_level scoring_does_not_fit_loss "
    "strides_do_not_fit_levels weights_of_backbone_missing".split()
)
"""Recipes whose parts are sound and do not fit together: their classes say so."""
INDEX: Final = {
    "lasso": {
        "distribution": "detzoo-lasso",
        "components": {"head/lasso_head": "a head of a plugin that is not installed"},
        "detectors": {"lassonet_voc": "a detector of it"},
    }
}


@pytest.fixture
def registry(toy_registry: Registry) -> Registry:
    """One that also knows of a plugin which is not installed."""
    toy_registry.__dict__["installable"] = INDEX
    return toy_registry


def expected(name: str, registry: Registry) -> str:
    """The message of ``expected/NAME.txt``, with its placeholders filled in."""

    def installed(match: re.Match[str]) -> str:
        return ", ".join(entry.name for entry in registry.entries(match[1]))

    def keys(match: re.Match[str]) -> str:
        names = list(registry.schema(registry.find("settings", match[1])).fields)
        return ", ".join(names)

    text = (HERE / "expected" / f"{name}.txt").read_text(encoding="utf-8").rstrip("\n")
    return re.sub(r"\{keys:(\w+)\}", keys, re.sub(r"\{installed:(\w+)\}", installed, text))


def without_folders(message: str) -> str:
    """Shorten the paths in a message to the names of their files."""
    return message.replace(f"{FILES}{os.sep}", "")


def test_every_broken_file_has_an_expected_message() -> None:
    helpers = {"extends_cycle_over_files_2"}  # the other half of a cycle, read by the first
    assert {path.stem for path in FILES.glob("*.yaml")} - helpers == set(NAMES)
    assert len(NAMES) >= 120
    assert set(NAMES) >= AT_BUILD | set(TARGETS)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in AT_BUILD])
def test_show_prints_the_whole_message_and_leaves_with_2(
    name: str, registry: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = str(FILES / TARGETS.get(name, f"{name}.yaml"))
    monkeypatch.setattr(sys, "argv", ["detzoo", "show", target])

    with pytest.raises(SystemExit) as left:
        main()

    printed = capsys.readouterr()
    assert left.value.code == 2
    assert printed.out == ""
    assert without_folders(printed.err) == f"error: {expected(name, registry)}\n"


@pytest.mark.parametrize("name", sorted(AT_BUILD))
def test_build_refuses_parts_that_do_not_fit(name: str, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FILES)
    target = str(FILES / f"{name}.yaml")
    load_recipe(target)

    with pytest.raises(DetzooError) as caught:
        build(target)

    assert without_folders(str(caught.value)).replace(str(FILES), "FOLDER") == expected(name, registry)


@pytest.mark.parametrize("name", ["tab", "several_defects", "alias_bomb", "python_object"])
def test_the_installed_command_says_the_same(name: str, registry: Registry, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(HERE.parent / "toy_zoo"), "DETZOO_PLUGINS": "toy"}
    command = [sys.executable, "-m", "detzoo", "show", str(FILES / f"{name}.yaml")]

    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stdout == ""
    first = expected(name, registry).splitlines()[0]
    assert without_folders(done.stderr).startswith(f"error: {first}")
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []  # nothing in a recipe was run


def refusal(target: str | Path) -> str:
    """The message with which a recipe is refused."""
    with pytest.raises(RecipeError) as caught:
        load_recipe(target)
    return str(caught.value)


def test_a_folder(registry: Registry, tmp_path: Path) -> None:
    folder = tmp_path / "recipes.yaml"
    folder.mkdir()

    assert refusal(folder) == f"{folder}: is a folder; expected a YAML file"


def test_a_file_that_is_not_there(registry: Registry, tmp_path: Path) -> None:
    assert refusal(tmp_path / "mine.yaml") == f"{tmp_path}/mine.yaml: cannot be read (No such file or directory)"


def test_a_path_through_a_file(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "recipes").write_text("api: 1\n")

    assert refusal(tmp_path / "recipes" / "mine.yaml") == (
        f"{tmp_path}/recipes/mine.yaml: cannot be read (Not a directory)"
    )


def test_a_name_no_file_can_have(registry: Registry) -> None:
    assert refusal("mi\0ne.yaml") == "mi\0ne.yaml: cannot be read (embedded null byte)"


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs /dev/zero")
def test_an_endless_device(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "endless.yaml").symlink_to("/dev/zero")

    assert refusal(tmp_path / "endless.yaml") == f"{tmp_path}/endless.yaml: is a device; expected a YAML file"


def test_a_file_too_large(registry: Registry, tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    large.write_text("# " + "x" * 4_000_000)

    assert refusal(large) == f"{large}: is too large; a recipe file has at most 4,000,000 bytes"


def test_a_detector_name_without_a_file(registry: Registry) -> None:
    assert refusal("toy_detectr") == (
        'unknown detector "toy_detectr"; did you mean "toy_detector"? `detzoo list` shows all; '
        "a file of your own ends in .yaml"
    )


def test_a_detector_of_a_file_named_by_a_colon(registry: Registry) -> None:
    assert "named by #: mine.yaml#small" in refusal("mine.yaml:small")


def test_a_detector_of_a_plugin_that_is_not_installed(registry: Registry) -> None:
    assert refusal("lassonet_voc") == (
        'detector "lassonet_voc" is not installed; provided by detzoo-lasso: pip install detzoo-lasso'
    )


OVERRIDES: Final = {
    "num_classes": "--set num_classes: expected key=value, for example --set loss.box.type=giou",
    "=3": "--set =3: expected key=value, for example --set loss.box.type=giou",
    "head..init=1": "--set head..init: cannot be read as a path; expected for example train.transforms[0].p",
    "head[x]=1": "--set head[x]: cannot be read as a path; expected for example train.transforms[0].p",
    "train.batch=[1": (
        "--set train.batch: not valid YAML: did not find expected ',' or ']' while parsing a flow sequence "
        "that starts on line 1"
    ),
    "train.batch=&a 1": ("--set train.batch: anchor &a is not allowed; write the value out, or use `extends`"),
    "train.batch=0": ("--set train.batch: detectors.toy_detector.train.batch: found 0; expected a whole number >= 1"),
    "train.batsh=8": (
        '--set train.batsh: detectors.toy_detector.train.batsh: unknown key "batsh" of train; '
        'did you mean "batch"? allowed: {keys}'
    ),
    "loss.box.type=giuo": (
        '--set loss.box.type: detectors.toy_detector.loss.box.type: unknown box_loss "giuo"; '
        'did you mean "giou"? installed: {box_loss}'
    ),
    "train.transforms[2].strength=1": (
        "--set train.transforms[2].strength: train.transforms has 2 elements, so [2] does not exist"
    ),
    "train.batch[0]=1": "--set train.batch[0]: train.batch is not a list",
    "train.transfroms[0].p=1": "--set train.transfroms[0].p: train.transfroms does not exist",
    "architecture=two_stage": (
        "--set architecture: the meta-architecture cannot be changed; extend a recipe that has the one you want"
    ),
    "head=null": (
        "--set head: detectors.toy_detector.head: found null; expected a head component: {{type: NAME, ...}}"
    ),
}


@pytest.mark.parametrize("override", OVERRIDES)
def test_overrides(override: str, registry: Registry) -> None:
    keys = ", ".join(sorted(registry.schema(registry.find("settings", "train")).fields))
    box_loss = ", ".join(entry.name for entry in registry.entries("box_loss"))

    with pytest.raises(RecipeError) as caught:
        load_recipe("toy_detector", [override])

    assert str(caught.value) == OVERRIDES[override].format(keys=keys, box_loss=box_loss)
