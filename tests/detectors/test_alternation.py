"""4-step alternating training: which stages, what each may move, and that a run killed in any of them ends the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from detzoo.components.box_coders import CentreSize
from detzoo.components.proposals.baselines import Uniform
from detzoo.components.proposals.image_level import ImageLevel
from detzoo.detectors.alternation import Alternation, Proposing, StepLength, check_alternation
from detzoo.errors import RecipeError
from detzoo.interfaces import Detector, GradientStage
from detzoo.training import train
from detzoo.types import ImageBatch
from detzoo.weights.checkpoint import load_checkpoint
from tests.detectors.alternation_toy import AlternatingToy, alternating_toy
from tests.training.training_toy import ToyDataset, read_log

ROOT = Path(__file__).parents[2]
STEPS = ("1-proposals", "2-box", "3-proposals", "4-box")


def run(detector: AlternatingToy, out: Path, **options: Any) -> None:
    train(detector, ToyDataset(), out, device="cpu", **{"workers": 0, "progress": False, **options})


def ends(out: Path, rounds: int = 1) -> dict[str, dict[str, Tensor]]:
    """The weights with which each step ended; ``initial`` and ``last`` are the run's own."""
    names = {"initial": "initial", "last": "last"} | {step: f"stage-{step}" for step in STEPS[:-1]}
    if rounds > 1:
        names |= {step: f"stage-{step}" for step in ("4-box", "5-proposals")}
    return {key: load_checkpoint(out / f"{name}.safetensors").model for key, name in names.items()}


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """Parts of which some tensor is not the same to the bit, batch-norm statistics and counters included."""
    return {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}


def gradient_stages(detector: Detector) -> list[GradientStage]:
    stages = detector.stages()
    assert all(isinstance(stage, GradientStage) for stage in stages)
    return [stage for stage in stages if isinstance(stage, GradientStage)]


def test_the_stages_of_one_round_and_of_three() -> None:
    shared = ("backbone.*", "neck.*")
    one = gradient_stages(alternating_toy(alternation=Alternation()))
    assert [(s.name, s.train, s.start_from, s.evaluate) for s in one] == [
        ("1-proposals", (*shared, "proposals.*"), "previous", False),
        ("2-box", (*shared, "box.*", "refinements.*", "mask.*"), "weights", False),
        ("3-proposals", ("proposals.*",), "previous", True),
        ("4-box", ("box.*", "refinements.*", "mask.*"), "previous", True),
    ]
    three = gradient_stages(alternating_toy(alternation=Alternation(rounds=3)))
    assert [s.name for s in three] == [*STEPS, "5-proposals", "6-box", "7-proposals", "8-box"]
    assert {s.train for s in three[2::2]} == {("proposals.*",)}
    assert [s.name for s in alternating_toy().stages()] == ["train"]


def test_each_step_has_the_length_that_the_recipe_gives(tmp_path: Path) -> None:
    lengths = Alternation(proposals=StepLength(epochs=2), box=StepLength(steps=4))
    run(alternating_toy(alternation=lengths), tmp_path / "run")  # 24 images, 8 a step: 3 steps an epoch
    log = read_log(tmp_path / "run")
    assert ["rpn.box" in record["terms"] for record in log] == [True] * 6 + [False] * 4 + [True] * 6 + [False] * 4
    assert [record["step"] for record in log] == list(range(1, 21))


def test_a_shorter_run_shortens_each_step_in_proportion(tmp_path: Path) -> None:
    lengths = Alternation(proposals=StepLength(epochs=4))
    run(alternating_toy(alternation=lengths, epochs=2), tmp_path / "run", steps=3)  # half of the recipe's 6
    assert ["rpn.box" in record["terms"] for record in read_log(tmp_path / "run")] == (
        [True] * 6 + [False] * 3 + [True] * 6 + [False] * 3
    )


def test_a_length_is_given_once() -> None:
    with pytest.raises(RecipeError) as caught:
        StepLength(epochs=3, steps=4)
    assert str(caught.value) == "give either epochs or steps (the other null), found epochs: 3, steps: 4"


def test_step_2_starts_again_and_the_shared_part_stays_to_the_bit(tmp_path: Path) -> None:
    detector = alternating_toy(alternation=Alternation(rounds=2))
    first = {name: value.clone() for name, value in detector.state_dict().items()}
    seen: list[dict[str, Tensor]] = []
    real = detector.region_losses

    def region_losses(*arguments: Any) -> dict[str, Tensor]:
        seen.append({name: value.detach().clone() for name, value in detector.state_dict().items()})
        return real(*arguments)

    detector.region_losses = region_losses  # type: ignore[method-assign, assignment]
    run(detector, tmp_path / "run", val=ToyDataset(4, "val"))
    at = ends(tmp_path / "run", rounds=2)

    assert moved(first, at["initial"]) == set()
    assert moved(first, at["1-proposals"]) == {"backbone", "neck", "proposals"}
    counters = {name for name in first if not torch.equal(first[name], seen[0][name])}
    assert {name.rpartition(".")[2] for name in counters} <= {"running_mean", "running_var", "num_batches_tracked"}
    assert moved(first, at["2-box"]) == {"backbone", "neck", "box"}
    assert torch.equal(at["2-box"]["neck.coarse.weight"], first["neck.coarse.weight"])  # the boxes never see that map
    assert moved(at["2-box"], at["3-proposals"]) == {"proposals"}
    assert moved(at["3-proposals"], at["4-box"]) == {"box"}
    assert moved(at["4-box"], at["5-proposals"]) == {"proposals"}
    assert moved(at["5-proposals"], at["last"]) == {"box"}
    averaged = load_checkpoint(tmp_path / "run" / "last.safetensors").ema
    assert moved(at["5-proposals"], averaged) == {"box"}
    assert all(p.requires_grad for p in detector.parameters())
    assert all(module.training for module in detector.modules())


def test_the_teacher_is_the_network_with_which_step_1_ended(tmp_path: Path) -> None:
    detector = alternating_toy(alternation=Alternation())
    run(detector, tmp_path / "run")
    at = ends(tmp_path / "run")["1-proposals"]
    teacher = Proposing(detector, load_checkpoint(tmp_path / "run" / "stage-1-proposals.safetensors").model)
    held = teacher.parts.state_dict()
    assert held.keys() == {name for name in at if not name.startswith("box.")}
    assert all(torch.equal(value, at[name]) for name, value in held.items())
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not any(module.training for module in teacher.modules())


def test_only_whole_networks_are_evaluated(tmp_path: Path) -> None:
    run(alternating_toy(alternation=Alternation()), tmp_path / "run", val=ToyDataset(4, "val"))
    rows = (tmp_path / "run" / "curve.csv").read_text().splitlines()
    column = rows[0].split(",").index("AP")
    assert [row.split(",")[column] != "" for row in rows[1:]] == [False, False, True, True]


@pytest.mark.parametrize("stop", [5, *(pytest.param(stop, marks=pytest.mark.slow) for stop in (2, 8, 11))])
def test_killed_in_any_step_and_resumed_it_ends_the_same(tmp_path: Path, stop: int, whole: Path) -> None:
    detector = alternating_toy(alternation=Alternation())
    calls, halves = [0], (detector.features, detector.region_losses)

    def features(batch: ImageBatch) -> Any:
        calls[0] += 1  # once a step
        if calls[0] == stop:
            os.kill(os.getpid(), signal.SIGINT)
        return halves[0](batch)

    detector.features = features  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        run(detector, tmp_path / "run")
    assert load_checkpoint(tmp_path / "run" / "last.safetensors").run["state"]["stage"] == (stop - 1) // 3
    run(alternating_toy(seed=stop, alternation=Alternation()), tmp_path / "run", resume=True)
    one, two = (load_checkpoint(folder / "last.safetensors") for folder in (whole, tmp_path / "run"))
    for part in ("model", "ema", "optim", "rng"):
        a, b = getattr(one, part), getattr(two, part)
        assert a.keys() == b.keys()
        assert [k for k in a if not torch.equal(a[k].nan_to_num(), b[k].nan_to_num())] == []


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was left alone."""
    out: Path = tmp_path_factory.mktemp("alternation") / "whole"
    run(alternating_toy(alternation=Alternation()), out)
    return out


def test_what_cannot_take_turns_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    toy = alternating_toy()
    with pytest.raises(RecipeError) as caught:
        check_alternation(ImageLevel(proposer=Uniform()), toy.box.head)
    assert str(caught.value) == (
        "alternation: ImageLevel learns nothing, so there is nothing to alternate with; "
        "write alternation: null, or proposals that learn, such as {type: rpn}"
    )
    monkeypatch.setattr(CentreSize, "measure", lambda self, examples: None, raising=False)
    with pytest.raises(RecipeError) as caught:
        alternating_toy(alternation=Alternation())
    assert str(caught.value) == (
        "alternation: the box coder CentreSize is measured before training, when there are no regions yet; "
        "write box_coder: {type: centre_size, variances: [0.1, 0.1, 0.2, 0.2]}"
    )


@pytest.mark.slow
def test_two_processes_train_every_step_and_agree(tmp_path: Path) -> None:
    """Frozen parts, and weights that a step's losses never touch, do not stop data-parallel training."""
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    command = [sys.executable, *launcher, str(ROOT / "tests/detectors/alternation_toy.py"), str(tmp_path / "two")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    at = ends(tmp_path / "two")
    assert moved(at["2-box"], at["3-proposals"]) == {"proposals"}
    assert moved(at["3-proposals"], at["last"]) == {"box"}
    assert len(read_log(tmp_path / "two")) == 12
