"""``detzoo push`` and ``detzoo.load("hf:...")``, through huggingface_hub, against a local server."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from typer.testing import CliRunner

import detzoo
from detzoo.cli import app
from detzoo.comparison.weights_facts import weights_facts
from detzoo.detector_loading import find_target
from detzoo.errors import WeightsError
from detzoo.publishing.push import PushError, prepare_push, push, without_folders
from detzoo.weights.checkpoint import Checkpoint, save_checkpoint, save_model
from detzoo.weights.hub_run import fetch_hub_run, repository_of
from tests.publishing.hub_server import HubServer, running

pytest.importorskip("detzoo_ssd")
# of how huggingface_hub itself uploads large files
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
REPOSITORY = "owner/cats"
TARGET = f"hf:{REPOSITORY}"
RESULTS: dict[str, Any] = {
    "metrics": {"AP": 0.5, "AP50": 0.75, "AP75": None},
    "data": {"name": "pets", "split": "test"},
    "counts": {"images": 40, "annotations": 90},
    "protocol": {"engine": "pycocotools", "coco": {"iou": ".50:.05:.95", "max_detections": 100},
                 "score_threshold": 0.01, "nms_iou": 0.5},
    "intervals": {"level": 0.95, "method": "percentile", "metrics": {"AP": {"low": 0.25, "high": 0.625}}},
    "device": {"name": "a machine of mine"},
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    built = detzoo.build("ssdlite_mobilenet_v2", num_classes=2, weights=None, overrides={"backbone.weights": None})
    built.classes = ("cat", "dog")
    save_model(built, folder / "best.safetensors")
    (folder / "results.json").write_text(json.dumps(RESULTS))
    return folder


@pytest.fixture
def hub(tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # its own server, which nobody can stand in for
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no_token"))
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    (run / "pushed.json").unlink(missing_ok=True)
    with running() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def test_what_was_pushed_is_loaded_and_detects_the_same(hub: HubServer, run: Path) -> None:
    commit = push(prepare_push(run, TARGET, licence="mit"))
    assert commit == hub.heads[REPOSITORY]
    assert hub.private[REPOSITORY] is True
    files = hub.files[REPOSITORY, commit]
    assert set(files) == {".gitattributes", "model.safetensors", "detzoo.json", "README.md", "results.json"}
    assert json.loads(files["detzoo.json"])["sha256"] == hashlib.sha256(files["model.safetensors"]).hexdigest()
    assert b"machine of mine" not in b"".join(files.values())
    here, there = detzoo.load(run), detzoo.load(TARGET)
    assert there.classes == ("cat", "dog")
    state = there.state_dict()
    assert state.keys() == here.state_dict().keys()
    assert all(torch.equal(value, state[name]) for name, value in here.state_dict().items())
    found = find_target(f"{TARGET}@{commit}")  # what predict, eval, bench and export go through
    assert found.foreign is None
    assert found.load().classes == ("cat", "dog")


def test_what_the_weights_have_seen_travels_with_them(hub: HubServer, tmp_path: Path) -> None:
    data = {"name": "pets", "split": "train", "images": 40, "annotations": "0f"}
    state = {"base_epoch": 3, "epoch": 0, "best_epoch": 3, "complete": True}
    folder = tmp_path / "trained"
    folder.mkdir()
    built = detzoo.build("ssdlite_mobilenet_v2", num_classes=2, weights=None, overrides={"backbone.weights": None})
    recipe = json.loads(json.dumps({"name": "/home/me/mine.yaml#mine", "values": built.recipe.values}))
    recipe["values"]["backbone"]["weights"] = "/home/me/secret/backbone.pth"
    whole = Checkpoint(recipe, ("cat", "dog"), built.state_dict(), run={"settings": {"data": data}, "state": state})
    save_checkpoint(folder / "last.safetensors", whole)
    prepared = prepare_push(folder, TARGET)
    assert not [name for name, content in prepared.files.items() if b"/home/me" in content]
    assert "Trained on pets, split train: 40 images" in prepared.files["README.md"].decode()
    push(prepared)
    file = fetch_hub_run(TARGET, progress=False)
    assert file is not None
    facts = weights_facts(file)
    assert (facts["trained_on"], facts["epoch"], facts["finished"]) == (data, 3, True)
    assert detzoo.load(TARGET).classes == ("cat", "dog")


def test_folders_stay_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "own.pth").write_bytes(b"")
    here = {"a": "../x/y.pth", "b": ["~/z", "nets/own.pth"], "c": "core/nets", "d": "https://host/a/b.pth", "e": 1}
    assert without_folders(here) == {"a": "y.pth", "b": ["z", "own.pth"], "c": "core/nets", "d": here["d"], "e": 1}


def test_compare_says_where_a_pushed_run_lies(hub: HubServer, run: Path, tmp_path: Path) -> None:
    push(prepare_push(run, TARGET))
    said = CliRunner().invoke(app, ["compare", TARGET, "--data", "shapes", "--out", str(tmp_path / "out")])
    assert "does not take it by this name" in str(said.exception)
    assert str(fetch_hub_run(TARGET, progress=False)) in str(said.exception)


def test_without_the_hub_what_was_fetched_is_taken(hub: HubServer, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    push(prepare_push(run, TARGET))
    kept = fetch_hub_run(TARGET, progress=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens
    assert fetch_hub_run(TARGET, progress=False) == kept
    with pytest.raises(WeightsError, match="Hub can be reached"):
        fetch_hub_run("hf:owner/never", progress=False)


def test_the_card_says_what_the_run_says(run: Path) -> None:
    text = prepare_push(run, TARGET, licence="apache-2.0").files["README.md"].decode()
    head = yaml.safe_load(text.split("---")[1])
    assert (head["license"], head["library_name"], head["pipeline_tag"]) == ("apache-2.0", "detzoo", "object-detection")
    for part in ("cat, dog", 'detzoo.load("hf:owner/cats")', "| AP | 50.0 | 25.0 to 62.5 |",
                 "| AP50 | 75.0 | not computed |",
                 "pycocotools", "NMS IoU 0.5", "pets, split test: 40 images", "does not say which data"):  # fmt: skip
        assert part in text
    assert "AP75" not in text


def test_a_card_without_licence_and_results(run: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes((run / "best.safetensors").read_bytes())
    prepared = prepare_push(alone, TARGET)
    text = prepared.files["README.md"].decode()
    assert "license" not in yaml.safe_load(text.split("---")[1])
    assert "No licence was given" in text
    assert "Not evaluated" in text
    assert "results.json" not in prepared.files


def test_names_in_a_card_are_text(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "best.safetensors").write_bytes((run / "best.safetensors").read_bytes())
    (folder / "results.json").write_text(json.dumps(RESULTS | {"data": {"name": "<b>\n# x", "split": "[a](b)"}}))
    text = prepare_push(folder, TARGET).files["README.md"].decode()
    assert r"On \<b\> \# x, split \[a\](b)" in text


def test_the_image_has_detections(run: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(tmp_path / "a.png")
    drawn = prepare_push(run, TARGET, image=tmp_path / "a.png").files
    assert drawn["detections.jpg"][:2] == b"\xff\xd8"
    assert b"(detections.jpg)" in drawn["README.md"]


def test_what_somebody_else_changed_is_not_replaced(hub: HubServer, run: Path) -> None:
    push(prepare_push(run, TARGET))
    push(prepare_push(run, TARGET, licence="mit"))  # our own is
    theirs = hub.commit(REPOSITORY, {"README.md": b"by hand"})
    with pytest.raises(PushError, match=f"README.md.* would be replaced.*--onto {theirs}"):
        push(prepare_push(run, TARGET))
    assert hub.files[REPOSITORY, hub.heads[REPOSITORY]]["README.md"] == b"by hand"
    push(prepare_push(run, TARGET), onto=theirs)
    assert hub.files[REPOSITORY, hub.heads[REPOSITORY]]["README.md"] != b"by hand"


def test_somebody_who_is_faster_is_not_overwritten(hub: HubServer, run: Path) -> None:
    hub.before_commit = lambda repository: hub.commit(repository, {"README.md": b"faster"})
    with pytest.raises(PushError, match="meanwhile"):
        push(prepare_push(run, TARGET))
    assert hub.files[REPOSITORY, hub.heads[REPOSITORY]]["README.md"] == b"faster"
    assert not (run / "pushed.json").exists()


@pytest.mark.parametrize(("status", "told"), [(403, "HF_TOKEN"), (400, "cannot push to hf:owner/cats: ")])
def test_what_the_hub_refuses(hub: HubServer, run: Path, status: int, told: str) -> None:
    hub.status = status
    with pytest.raises(PushError, match=told) as caught:
        push(prepare_push(run, TARGET))
    assert "\n" not in str(caught.value)
    assert "hf_of_a_test" not in str(caught.value)


def test_a_repository_of_transformers_is_foreign(hub: HubServer) -> None:
    hub.commit(REPOSITORY, {"config.json": b'{"model_type": "detr"}'})
    assert fetch_hub_run(TARGET, progress=False) is None
    with pytest.raises(WeightsError, match="no run of detzoo"):
        detzoo.load(TARGET)


@pytest.mark.parametrize("content", [b"[]", b"{", b'{"format": 1, "sha256": "x"}', b'{"format": 2, "sha256": "%064d"}'])
def test_a_damaged_mark(hub: HubServer, content: bytes) -> None:
    hub.commit(REPOSITORY, {"detzoo.json": content % 0 if b"%" in content else content})
    with pytest.raises(WeightsError, match=TARGET):
        fetch_hub_run(TARGET, progress=False)


def test_other_weights_than_the_mark_says(hub: HubServer, run: Path) -> None:
    push(prepare_push(run, TARGET))
    hub.commit(REPOSITORY, {"model.safetensors": b"other"})
    with pytest.raises(WeightsError, match="sha256"):
        detzoo.load(TARGET)


@pytest.mark.parametrize("target", ["owner/cats", "hf:", "hf:cats", "hf:owner/cats@main", "hf:a/b/c"])
def test_what_is_no_repository(target: str, run: Path) -> None:
    with pytest.raises(PushError, match="hf:OWNER/NAME"):
        prepare_push(run, target)


def test_a_folder_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "owner" / "cats").mkdir(parents=True)
    assert repository_of(TARGET) == (REPOSITORY, "main")
    monkeypatch.chdir(tmp_path)
    assert repository_of(TARGET) is None


def test_a_dry_run_names_everything_and_sends_nothing(hub: HubServer, run: Path) -> None:
    said = CliRunner().invoke(app, ["push", str(run), TARGET, "--dry-run"])
    assert said.exit_code == 0, said.output
    for name in ("model.safetensors", "detzoo.json", "README.md", "results.json"):
        assert re.search(rf"^{name}  [\d,]+ bytes  sha256 [0-9a-f]{{64}}$", said.stdout, re.MULTILINE)
    assert "no licence" in said.output
    assert hub.requests == []
