from __future__ import annotations

import errno
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from detzoo.errors import MachineError, WeightsError
from detzoo.training import rng
from detzoo.training.run import RunState, state_of
from detzoo.weights.checkpoint import Checkpoint, checkpoint_of, load_checkpoint, load_model_state, save_checkpoint


def example(**parts: dict[str, torch.Tensor]) -> Checkpoint:
    tied = torch.arange(4.0)
    model = {
        "a.weight": tied,
        "b.weight": tied,
        "c.weight": torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last),
    }
    return Checkpoint({"name": "toy", "values": {"lr": 0.1}}, ("cat", None), model, run={"state": {"step": 3}}, **parts)


def test_round_trip_of_tied_and_strided_tensors(tmp_path: Path) -> None:
    saved = example(optim={"a.weight/step": torch.tensor(2.0)}, rng={"0.torch": torch.get_rng_state()})
    save_checkpoint(tmp_path / "x.safetensors", saved)
    read = load_checkpoint(tmp_path / "x.safetensors")
    assert (read.recipe, read.classes, read.run) == (saved.recipe, saved.classes, saved.run)
    for part in ("model", "ema", "optim", "rng"):
        old, new = getattr(saved, part), getattr(read, part)
        assert old.keys() == new.keys()
        assert all(torch.equal(old[name], new[name]) for name in old)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.safetensors"]
    assert load_checkpoint(tmp_path / "x.safetensors", parts=()).model == {}


def test_a_detector_is_loaded_from_the_average_where_there_is_one(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last.safetensors", example())
    values, classes, state = load_model_state(tmp_path)
    assert (values, classes) == ({"lr": 0.1}, ("cat", None))
    assert torch.equal(state["a.weight"], torch.arange(4.0))
    save_checkpoint(tmp_path / "best.safetensors", example(ema={"a.weight": torch.ones(4)}))
    assert checkpoint_of(tmp_path) == tmp_path / "best.safetensors"
    assert torch.equal(load_model_state(tmp_path)[2]["a.weight"], torch.ones(4))


def test_places_without_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        load_model_state(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: no best.safetensors or last.safetensors in it; is it a run folder, "
        "and has it reached its first checkpoint?"
    )
    with pytest.raises(WeightsError, match=r"no such run folder or checkpoint$"):
        load_model_state(tmp_path / "nothing.safetensors")


def test_foreign_and_damaged_files(tmp_path: Path) -> None:
    foreign, damaged = tmp_path / "foreign.safetensors", tmp_path / "damaged.safetensors"
    save_file({"x": torch.zeros(1)}, foreign)
    with pytest.raises(WeightsError) as caught:
        load_checkpoint(foreign)
    assert str(caught.value) == (
        f"{foreign}: a safetensors file, but not a checkpoint of detzoo (no 'detzoo' in its metadata); "
        "foreign weights come in through `detzoo weights import` or detzoo.convert_weights"
    )
    save_checkpoint(damaged, example())
    damaged.write_bytes(damaged.read_bytes()[:-5])
    with pytest.raises(WeightsError, match=r"damaged\.safetensors: not a complete safetensors file: "):
        load_checkpoint(damaged)


WHOLE = {"format": 1, "recipe": {"name": "toy", "values": {}}, "classes": ["cat", None], "versions": {}, "run": {}}
ALTERED: dict[str, str] = {
    "no JSON": "{not json",
    "cut": json.dumps(WHOLE)[:-20],
    "deep": "[" * 100_000,
    "a list": "[1, 2]",
    "a number": "7",
    "null": "null",
    **{f"no {key}": json.dumps({k: v for k, v in WHOLE.items() if k != key}) for key in WHOLE if key != "versions"},
    **{
        f"{key} is {value!r}": json.dumps(WHOLE | {key: value})
        for key, values in {
            "format": ("1", None, 0, -1, 1.5, True, [1]),
            "recipe": (None, "ssd", [], {"name": "ssd"}, {"name": 3, "values": {}}, {"name": "ssd", "values": []}),
            "classes": (None, "abcde", {"a": 1}, [1, 2], 3),
            "run": (None, "state", []),
        }.items()
        for value in values
    },
}


@pytest.mark.parametrize("case", ALTERED)
def test_altered_metadata_are_told_with_the_file(case: str, tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    save_file({"model.x": torch.zeros(1)}, path, metadata={"detzoo": ALTERED[case]})
    with pytest.raises(WeightsError, match=r"last\.safetensors: the metadata were altered or damaged"):
        load_checkpoint(path)


@pytest.mark.parametrize("versions", [{"versions": {"detzoo": "9.9"}}, {"versions": "9"}, {}])
def test_a_newer_format_asks_for_an_upgrade(versions: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    save_file({"model.x": torch.zeros(1)}, path, metadata={"detzoo": json.dumps({"format": 2} | versions)})
    with pytest.raises(WeightsError, match="in a newer format; upgrade detzoo"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "state",
    [
        {"steps": 3},
        {"step": "3"},
        {"step": -1},
        {"step": 1.5},
        {"broken": "a.jpg"},
        {"sums": [1]},
        {"complete": 0},
        {"best": "high"},
        [],
        None,
    ],
)
def test_an_altered_state_of_a_run_is_told(state: Any, tmp_path: Path) -> None:
    saved = Checkpoint({"name": "toy", "values": {}}, (), {}, run={"state": state})
    with pytest.raises(WeightsError, match="cannot go on from it, its metadata were altered"):
        state_of(saved, tmp_path / "last.safetensors")
    good = Checkpoint({"name": "toy", "values": {}}, (), {}, run={"state": RunState(step=3, best=0.5).as_dict()})
    assert state_of(good, tmp_path).step == 3


def test_generators_continue_where_they_were() -> None:
    def draw() -> tuple[float, ...]:
        return random.gauss(0, 1), random.random(), float(np.random.normal()), float(torch.randn(1)), np.random.rand()

    rng.seed_everything(5)
    random.gauss(0, 1)  # half of a pair: Python and NumPy keep the other half
    np.random.normal()
    states = rng.capture(torch.device("cpu"))
    first = draw()
    rng.restore(states, torch.device("cpu"))
    assert draw() == first
    with rng.untouched(torch.device("cpu")):
        after = draw()
    assert draw() == after


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "last.safetensors"
    save_checkpoint(place, example())
    before = place.read_bytes()
    real = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        real(path, content[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(MachineError) as caught:
        save_checkpoint(place, example())
    monkeypatch.undo()

    assert str(caught.value) == (
        f"{place}: the disk is full; the previous file is intact. Mend this and repeat the command"
    )
    assert place.read_bytes() == before
    assert list(tmp_path.iterdir()) == [place]
