from __future__ import annotations

import csv
import json
import logging
import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from detzoo.data.loading.transforms import MixUp, Mosaic
from detzoo.errors import DataError, DetzooError, TrainingError
from detzoo.interfaces import FittingStage, GradientStage, Stage, Transform
from detzoo.runtime.folder_claim import locked_folder
from detzoo.training import RunSummary, train
from detzoo.training.plan import Optimizer, Schedule
from detzoo.types import ImageBatch, Targets
from detzoo.weights.checkpoint import load_checkpoint, load_model_state
from tests.training.training_toy import CLASSES, SIDE, Noise, ToyDataset, ToyDetector, read_log, toy


def run(detector: ToyDetector, out: Path, **options: Any) -> RunSummary:
    data = options.pop("data", None)
    return train(
        detector,
        ToyDataset() if data is None else data,
        out,
        device="cpu",
        **{"workers": 0, "progress": False, **options},
    )


def weights(detector: ToyDetector) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in detector.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_loss_falls_and_the_folder_is_complete(tmp_path: Path) -> None:
    detector = toy(lively=False, epochs=30, clip_norm=None, ema=None, eval_every=10)
    summary = run(detector, tmp_path / "run", val=ToyDataset(4, "val"))
    log = read_log(tmp_path / "run")
    assert [record["step"] for record in log] == list(range(1, 91))
    assert log[-1]["loss"] < 0.5 * log[0]["loss"]
    assert log[0].keys() == {"step", "epoch", "loss", "terms", "lr", "rates", "images_per_second"}
    assert log[0]["loss"] == pytest.approx(sum(log[0]["terms"].values()))
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        "best.safetensors", "curve.csv", "detections.json", "last.safetensors", "log.jsonl", "recipe.yaml",
        "results.json",
    ]  # fmt: skip
    with (tmp_path / "run" / "curve.csv").open(newline="") as file:
        curve = list(csv.DictReader(file))
    assert [(int(row["epoch"]), int(row["step"])) for row in curve] == [(e, 3 * e) for e in range(1, 31)]
    assert float(curve[1]["loss"]) == pytest.approx(sum(record["loss"] for record in log[3:6]) / 3)
    scores = {int(row["epoch"]): float(row["AP"]) for row in curve if row["AP"]}
    assert list(scores) == [10, 20, 30]
    assert (summary.steps, summary.epochs, summary.best) == (90, 30, max(scores.values()))
    assert summary.best_epoch == max(scores, key=lambda epoch: (scores[epoch], -epoch))
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["metrics"]["AP"] == pytest.approx(summary.best)


def test_the_learning_rate_is_scaled_to_the_batch_and_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan: dict[str, Any] = {"optimizer": Optimizer(lr=0.08), "schedule": Schedule(name="constant")}
    run(toy(batch=16, epochs=1, **plan), tmp_path / "run", batch=4, progress=True)
    assert {record["lr"] for record in read_log(tmp_path / "run")} == {0.02}
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"toy on toy train (24 images, 2 classes) -> {tmp_path / 'run'}"
    rate = lines.index("learning rate 0.08 for 16 images per step -> 0.02 for 4 (constant)")
    assert lines[rate + 1] == "6 steps, 6 per epoch, 1 epochs at most; cpu, fp32"


def test_a_recipes_steps_count_images_not_updates(tmp_path: Path) -> None:
    # 6 steps of 8 images are 12 of 4; steps asked for are taken literally
    summary = run(toy(epochs=None, steps=6), tmp_path / "scaled", batch=4)
    assert (summary.steps, summary.epochs) == (12, 2)
    assert run(toy(epochs=None, steps=6), tmp_path / "literal", batch=4, steps=7).steps == 7


def test_a_batch_larger_than_the_data_shrinks(tmp_path: Path) -> None:
    assert run(toy(batch=64, epochs=2), tmp_path / "run", data=ToyDataset(5)).steps == 2
    with pytest.raises(DataError) as nothing:
        run(toy(), tmp_path / "none", data=ToyDataset(0))
    assert str(nothing.value) == "toy train: none of 0 images has a box to learn from"
    with pytest.raises(TrainingError) as caught:
        run(toy(), tmp_path / "odd", batch=9, accumulate=2)
    assert str(caught.value) == (
        "a batch of 9 images cannot be shared out evenly: 1 processes x 2 parts; "
        "choose a --batch that is a multiple of 2"
    )


def test_accumulated_parts_equal_one_big_batch(tmp_path: Path) -> None:
    plan: dict[str, Any] = {"lively": False, "per_image": True, "epochs": 2, "ema": None}
    whole, parts = toy(**plan), toy(**plan)
    run(whole, tmp_path / "whole")
    run(parts, tmp_path / "parts", accumulate=4)
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    losses = [[record["loss"] for record in read_log(tmp_path / name)] for name in ("whole", "parts")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_evaluating_changes_nothing(tmp_path: Path) -> None:
    watched, alone = toy(), toy()
    run(watched, tmp_path / "watched", val=ToyDataset(4, "val"))
    run(alone, tmp_path / "alone")
    assert same(weights(watched), weights(alone))


def test_stops_at_the_first_loss_that_is_not_finite(tmp_path: Path) -> None:
    detector = toy(epochs=4)
    detector.poison = 5
    with pytest.raises(TrainingError) as caught:
        run(detector, tmp_path / "run", checkpoint_steps=4)
    order = ToyDataset().loader([], detector.input, 8, seed=3).order(1)[8:16]
    files = "\n".join(f"  toy-{position:03d}.png" for position in order)
    loss = str(caught.value).partition("class = ")[2].partition(",")[0]
    assert math.isfinite(float(loss))
    assert str(caught.value) == (
        f"the loss is not finite at step 5, epoch 2: class = {loss}, box = nan\n"
        f"Terms that are not finite: box. Images of this batch:\n{files}\n"
        f"This step did not change the weights, and the last checkpoint in {tmp_path / 'run'} is untouched. Look at "
        "the boxes with `detzoo data check`; try a smaller train.optimizer.lr (now 0.05), a longer warm-up, "
        "train.clip_norm."
    )
    assert same(weights(detector), load_checkpoint(tmp_path / "run" / "last.safetensors").model | _counters(detector))
    assert [record["step"] for record in read_log(tmp_path / "run")] == [1, 2, 3, 4]


def _counters(detector: ToyDetector) -> dict[str, Tensor]:
    """Statistics of the batch norm have seen the bad batch; weights have not."""
    return {name: value for name, value in detector.state_dict().items() if "running" in name or "num" in name}


def test_broken_images_are_counted_and_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "detzoo.data")
    summary = run(toy(epochs=1), tmp_path / "run", data=ToyDataset(24, broken=(3, 7)))
    assert summary.broken == ("toy-003.png", "toy-007.png")
    assert summary.steps == 3
    assert "2 broken images skipped" in str(summary)


def test_early_stop_after_patience_runs_out(tmp_path: Path) -> None:
    still = toy(epochs=50, patience=3, optimizer=Optimizer(lr=1e-12), ema=None, lively=False)
    summary = run(still, tmp_path / "run", val=ToyDataset(4, "val"))
    assert (summary.epochs, summary.best_epoch, summary.stopped_early) == (4, 1, True)
    assert run(still, tmp_path / "run", val=ToyDataset(4, "val"), resume=True).epochs == 4


def test_the_average_is_what_is_saved_for_use(tmp_path: Path) -> None:
    detector = toy(ema=0.5)
    run(detector, tmp_path / "run")
    saved = load_checkpoint(tmp_path / "run" / "last.safetensors")
    assert same(saved.model, weights(detector))
    assert same(load_model_state(tmp_path / "run")[2], saved.ema)
    assert not same(saved.model, saved.ema)


def test_a_run_that_stopped_before_its_first_step_makes_way(tmp_path: Path) -> None:
    broken = toy(epochs=1)
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    with pytest.raises(TrainingError, match="not finite"):
        run(broken, tmp_path / "run")
    (tmp_path / "run" / "notes.txt").write_text("mine")

    run(toy(epochs=1), tmp_path / "run")

    assert load_checkpoint(tmp_path / "run" / "last.safetensors").run["state"]["complete"]
    assert [line["step"] for line in read_log(tmp_path / "run")] == [1, 2, 3]
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_a_resume_of_nothing_says_that_it_begins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(toy(epochs=1), tmp_path / "run", resume=True, progress=True)
    told = "".join(capsys.readouterr())
    assert f"{tmp_path / 'run'} holds no run to resume: a new one begins there" in told


def test_an_existing_run_is_never_written_over(tmp_path: Path) -> None:
    run(toy(epochs=1), tmp_path / "run")
    before = {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()}
    with pytest.raises(TrainingError) as caught:
        run(toy(epochs=1), tmp_path / "run")
    assert str(caught.value) == (
        f"{tmp_path / 'run'}: already holds a run, at step 3; add --resume to continue, or choose another --out "
        "(nothing was changed)"
    )
    assert {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()} == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("precious")
    with pytest.raises(TrainingError) as caught:
        run(toy(epochs=1), tmp_path / "other")
    assert str(caught.value) == (
        f"{tmp_path / 'other'}: exists and is no run of detzoo; choose another --out (nothing was changed)"
    )


def test_resume_refuses_another_recipe_and_other_settings(tmp_path: Path) -> None:
    run(toy(epochs=1), tmp_path / "run")
    other = toy(epochs=1)
    other.recipe.values["lr"] = 0.1
    with pytest.raises(TrainingError) as caught:
        run(other, tmp_path / "run", resume=True, seed=9)
    assert str(caught.value) == (
        f"{tmp_path / 'run'}: cannot resume, this is another training:\n"
        "  recipe.lr: 0.05 in the run, 0.1 now\n"
        "  run.seed: 3 in the run, 9 now\n"
        "Repeat the command with the same values, or start a new run with another --out."
    )


def test_a_detector_of_other_classes_is_refused(tmp_path: Path) -> None:
    detector = toy()
    detector.classes = ("dark", "dark", "light")
    with pytest.raises(TrainingError) as caught:
        run(detector, tmp_path / "run")
    assert str(caught.value) == (
        "the detector has 3 classes (dark, dark, light), toy has 2 (dark, light); build it with classes=dataset.classes"
    )
    assert CLASSES == ("dark", "light")


def several() -> list[Transform]:
    """Mosaic for the first two thirds of the training, MixUp for the last three quarters, each image changed before."""
    mosaic, mixup = Mosaic((SIDE, SIDE), plain=False), MixUp((SIDE, SIDE), plain=False, weighted=True)
    mosaic.active, mixup.active = (0.0, 0.67), (0.25, 1.0)
    return [Noise(), mosaic, mixup]


def test_losses_are_told_how_much_of_the_training_is_done(tmp_path: Path) -> None:
    detector, seen = toy(accumulate=2), []
    real = detector.losses

    def losses(batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        assert targets.progress is not None
        seen.append(float(targets.progress))
        return real(batch, targets)

    detector.losses = losses  # type: ignore[method-assign]
    run(detector, tmp_path / "run")
    # 4 epochs of 3 steps, each of two parts
    assert seen == pytest.approx([step / 12 for step in range(12) for _ in range(2)])


@pytest.mark.parametrize(
    ("number", "step", "transforms"),
    [(signal.SIGINT, 5, []), (signal.SIGTERM, 6, []), (signal.SIGINT, 5, several())],
    ids=["within", "epoch_end", "mosaic_and_mixup"],
)
def test_a_signal_saves_and_the_run_goes_on_bit_for_bit(
    tmp_path: Path, number: signal.Signals, step: int, transforms: list[Transform]
) -> None:
    plan: dict[str, Any] = {"transforms": transforms} if transforms else {}
    whole, interrupted, resumed = toy(**plan), toy(**plan), toy(seed=99, **plan)
    run(whole, tmp_path / "whole")
    real, calls = interrupted.losses, [0]

    def losses(batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        calls[0] += 1
        if calls[0] == step:
            os.kill(os.getpid(), number)
        return real(batch, targets)

    interrupted.losses = losses  # type: ignore[method-assign]
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt) as caught:
        run(interrupted, tmp_path / "run")
    assert str(caught.value) == f"stopped after step {step}; repeat the command with --resume to continue"
    assert signal.getsignal(number) is before
    assert [record["step"] for record in read_log(tmp_path / "run")] == list(range(1, step + 1))
    run(resumed, tmp_path / "run", resume=True)
    assert same(weights(whole), weights(resumed))
    logs = [read_log(tmp_path / name) for name in ("whole", "run")]
    assert _untimed(logs[0]) == _untimed(logs[1])
    assert (tmp_path / "whole" / "curve.csv").read_text() == (tmp_path / "run" / "curve.csv").read_text()


def _untimed(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in record.items() if key != "images_per_second"} for record in log]


class TwoStages(ToyDetector):
    """The head alone for an epoch, then, from the first weights again, everything; a step of its own kind between."""

    seen: list[str]

    def stages(self) -> list[Stage]:
        return [
            GradientStage(name="head", train=("head.*",), settings={"epochs": 1, "optimizer": {"lr": 0.01}}),
            FittingStage(name="count", fit=lambda context: self.seen.append(context.out.name)),
            GradientStage(name="all", start_from="weights", settings={"epochs": 2}),
        ]


def two_stages(seed: int = 0) -> TwoStages:
    torch.manual_seed(seed)
    detector = TwoStages(lively=False)
    detector.train_plan, detector.seen = toy(ema=None, clip_norm=None).train_plan, []
    return detector


def test_stages_run_in_order_freeze_the_rest_and_start_again(tmp_path: Path) -> None:
    detector = two_stages()
    first = weights(detector)
    summary = run(detector, tmp_path / "run")
    assert (summary.steps, summary.epochs, detector.seen) == (9, 3, ["run"])
    after_head = load_checkpoint(tmp_path / "run" / "stage-head.safetensors").model
    assert {name for name in first if not torch.equal(first[name], after_head[name])} == {"head.weight", "head.bias"}
    assert same(load_checkpoint(tmp_path / "run" / "initial.safetensors").model, first)
    assert all(p.requires_grad for p in detector.parameters())
    log = read_log(tmp_path / "run")
    assert [record["step"] for record in log] == list(range(1, 10))
    assert max(record["lr"] for record in log[:3]) == 0.01


def test_a_run_of_stages_resumes_in_the_stage_it_was_in(tmp_path: Path) -> None:
    whole = two_stages()
    run(whole, tmp_path / "whole")
    for stop in (2, 7):
        detector = two_stages(seed=stop)
        if stop == 2:
            detector = two_stages()
        real, calls = detector.losses, [0 if stop == 2 else 2]

        def losses(
            batch: ImageBatch, targets: Targets, real: Any = real, calls: list[int] = calls, stop: int = stop
        ) -> dict[str, Tensor]:
            calls[0] += 1
            if calls[0] == stop:
                os.kill(os.getpid(), signal.SIGINT)
            terms: dict[str, Tensor] = real(batch, targets)
            return terms

        detector.losses = losses  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            run(detector, tmp_path / "run", resume=True)
    last = two_stages(seed=5)
    run(last, tmp_path / "run", resume=True)
    assert same(weights(whole), weights(last))


def test_a_stage_with_an_unknown_setting(tmp_path: Path) -> None:
    detector = toy()
    detector.stages = lambda: [GradientStage(name="one", settings={"epoch": 1})]  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match=r"^stage one: unknown setting epoch; allowed: accumulate, batch, "):
        run(detector, tmp_path / "run")


def test_two_trainings_never_share_a_folder(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with locked_folder(out, what="training"), pytest.raises(DataError, match=r"another detzoo training .* at work"):
        run(toy(epochs=1), out)
    assert run(toy(epochs=1), out).steps == 3  # the folder is free again
    assert not (out / ".lock").exists()
    with locked_folder(out, what="training"), pytest.raises(DataError, match=r"another detzoo training .* at work"):
        run(toy(epochs=1), out, resume=True)


def test_options_are_checked_by_name_and_value(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"unknown option epoch; allowed: resume, epochs, steps, "):
        run(toy(), tmp_path / "run", epoch=1)
    for options, message in (
        ({"epochs": 1, "steps": 1}, "give either --epochs or --steps, not both"),
        ({"minutes": 1, "steps": 1}, "give either --steps or --minutes, not both"),
        ({"minutes": 0}, "minutes is 0; it must be above 0, as 10 or 0.5"),
        ({"minutes": float("nan")}, "minutes is nan; it must be above 0"),
        ({"batch": 0}, "batch is 0; at least 1 is needed"),
        ({"precision": "fp8"}, "precision 'fp8' is unknown; allowed: fp32, bf16, fp16"),
    ):
        with pytest.raises(DetzooError, match=message):
            run(toy(), tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()
