from __future__ import annotations

import math

import pytest
import torch

from detzoo.errors import RecipeError
from detzoo.training.plan import Optimizer, Schedule, TrainPlan
from detzoo.training.schedule import Rates, rates


def made(schedule: Schedule, total: int, *, steps_per_epoch: int = 10, **length: int) -> Rates:
    length = length or {"steps": total}
    plan = TrainPlan(batch=1, optimizer=Optimizer(lr=1.0), schedule=schedule, **length)  # type: ignore[arg-type]
    return rates(plan, steps_per_epoch=steps_per_epoch, total=total)


def test_constant() -> None:
    assert [made(Schedule(name="constant"), 3).factor(t) for t in range(3)] == [1.0, 1.0, 1.0]


def test_step_drops_at_caffe_ssds_milestones() -> None:
    ssd = made(Schedule(name="step", milestones=(80_000, 100_000), unit="step"), 120_000)
    assert [ssd.factor(t) for t in (0, 79_999)] == [1.0, 1.0]
    assert [ssd.factor(t) for t in (80_000, 99_999, 100_000)] == pytest.approx([0.1, 0.1, 0.01])


def test_step_milestones_move_along_with_the_length_of_the_run() -> None:
    plan = TrainPlan(
        epochs=120, batch=32, optimizer=Optimizer(lr=1.0), schedule=Schedule(milestones=(80, 110), unit="epoch")
    )
    assert rates(plan, steps_per_epoch=50, total=120 * 50).drops == (4000, 5500)
    assert rates(plan, steps_per_epoch=50, total=12 * 50).drops == (400, 550)
    fractions = made(Schedule(milestones=(0.5, 0.75)), 200)
    assert fractions.drops == (100, 150)


def test_darknets_factors_one_a_milestone() -> None:
    # yolov1.cfg: steps 200,400,600,20000,30000 scales 2.5,2,2,.1,.1
    schedule = Schedule(milestones=(200, 400, 600, 20_000, 30_000), unit="step", factors=(2.5, 2, 2, 0.1, 0.1))
    darknet = made(schedule, 40_000)
    assert [darknet.factor(t) for t in (0, 200, 400, 600, 20_000, 30_000)] == pytest.approx([1, 2.5, 5, 10, 1, 0.1])


def test_a_plateau_keeps_the_last_part_of_a_cosine_low() -> None:
    schedule = made(Schedule(name="cosine", final_factor=0.05, plateau=0.1), 100)
    assert schedule.factor(45) == pytest.approx(0.05 + 0.95 / 2)  # half of the 90 steps that fall
    assert [schedule.factor(t) for t in (90, 95, 99)] == pytest.approx([0.05] * 3)


def test_a_cosine_falls_only_after_what_it_holds() -> None:
    """RTMDet: half of the run at the full rate, then half a wave down to a twentieth."""
    schedule = made(Schedule(name="cosine", hold=0.5, final_factor=0.05), 200)
    assert [schedule.factor(t) for t in (0, 50, 100)] == pytest.approx([1.0] * 3)
    assert schedule.factor(150) == pytest.approx(0.05 + 0.95 / 2)
    assert schedule.factor(200) == pytest.approx(0.05)
    both = made(Schedule(name="cosine", hold=0.5, plateau=0.25), 200)
    assert [both.factor(t) for t in (100, 125, 150, 199)] == pytest.approx([1.0, 0.5, 0.0, 0.0])


def test_hold_and_plateau_leave_steps_to_fall_in() -> None:
    with pytest.raises(RecipeError, match=r"hold 0\.5 and plateau 0\.5"):
        Schedule(name="cosine", hold=0.5, plateau=0.5)


def test_cosine_against_its_formula() -> None:
    cosine = made(Schedule(name="cosine", final_factor=0.1), 100)
    for t in (0, 25, 50, 99):
        assert cosine.factor(t) == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * t / 100)))


def test_poly_against_its_formula() -> None:
    poly = made(Schedule(name="poly", power=2.0, final_factor=0.2), 10)
    assert [poly.factor(t) for t in (0, 5, 10)] == pytest.approx([1.0, 0.2 + 0.8 * 0.25, 0.2])


@pytest.mark.parametrize(("total", "rise"), [(100, 0.3), (37, 0.25), (10, 0.5)])
def test_one_cycle_is_torchs(total: int, rise: float) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    torchs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=1.0,
        total_steps=total,
        pct_start=rise,
        div_factor=25,
        final_div_factor=100,
        cycle_momentum=False,
    )
    ours = made(Schedule(name="one_cycle", rise=rise, start_factor=1 / 25, final_factor=1 / 2500), total)
    for t in range(total):
        assert ours.factor(t) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        if t + 1 < total:
            torchs.step()


def test_warm_up_rises_linearly_and_multiplies() -> None:
    warm = made(Schedule(name="constant", warmup_steps=10, warmup_factor=0.1), 1000)
    assert [warm.factor(t) for t in (0, 5, 10, 11)] == pytest.approx([0.1, 0.55, 1.0, 1.0])


def test_warm_up_of_a_short_run_is_a_fifth_of_it() -> None:
    assert made(Schedule(warmup_steps=500), 50).warmup == 10
    assert made(Schedule(warmup_steps=0), 50).warmup == 0


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ({"milestones": (0.8, 0.5)}, "milestones must ascend, found [0.8, 0.5]"),
        (
            {"milestones": (80_000.0,)},
            "milestones are fractions of the run and stay below 1, found [80000.0]; "
            "for steps or epochs write unit: step or unit: epoch",
        ),
        (
            {"milestones": (0.5,), "factors": (0.1, 0.1)},
            "factors has 2 values for 1 milestones; give one per milestone, or leave it out and set gamma",
        ),
    ],
)
def test_schedules_that_cannot_be(schedule: dict[str, tuple[float, ...]], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Schedule(**schedule)  # type: ignore[arg-type]
    assert str(caught.value) == message


@pytest.mark.parametrize("length", [{}, {"epochs": 3, "steps": 10}])
def test_a_plan_has_one_length(length: dict[str, int]) -> None:
    with pytest.raises(RecipeError, match=r"^give either epochs or steps \(the other null\), found epochs: "):
        TrainPlan(batch=1, optimizer=Optimizer(lr=1.0), **length)  # type: ignore[arg-type]


def test_darknets_burn_in_rises_with_the_fourth_power_from_nothing() -> None:
    burn = made(Schedule(name="constant", warmup_steps=100, warmup_factor=0.0, warmup_power=4.0), 1000)
    assert [burn.factor(t) for t in (0, 50, 100, 500)] == pytest.approx([0.0, 0.5**4, 1.0, 1.0])
