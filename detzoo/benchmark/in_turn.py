"""Several detectors timed in turn: what slows the machine down meanwhile slows all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from detzoo.benchmark.speed import Benchmark, Timing, blocks_of
from detzoo.runtime.isolated import Failure, isolated


def benchmark_in_turn(
    timings: Mapping[str, Timing],
    *,
    say: Callable[[str], None] = lambda _: None,
    turn_done: Callable[[int], None] = lambda _: None,
) -> dict[str, Benchmark | Failure]:
    """Warm every detector up, then give each a block of rounds, and again, until all have their rounds.

    Args:
        timings: by name.
        say: progress callback, one message per call.
        turn_done: progress callback, given the number of turns that were done.

    Returns:
        by name, in the given order: times and costs, or why there are none. One that fails drops out, alone.
    """
    failed: dict[str, Failure] = {}

    def step(name: str, work: Callable[[], None]) -> None:
        if name not in failed and isinstance(done := isolated(work), Failure):
            failed[name] = done

    for name, timing in timings.items():
        say(f"{name}: warming up")
        step(name, timing.warm_up)
    plans = {name: blocks_of(timing.options.iterations) for name, timing in timings.items()}
    for turn in range(max((len(plan) for plan in plans.values()), default=0)):
        say(f"timing, turn {turn + 1} of {max(len(plan) for plan in plans.values())}")
        for name, plan in plans.items():
            if turn < len(plan):
                step(name, partial(timings[name].block, plan[turn]))
        turn_done(1)
    return {name: failed[name] if name in failed else isolated(timing.result) for name, timing in timings.items()}
