"""``detzoo proposals make`` on two cores against one: images per second, in turn, on the same images.

On one core the command is pinned to one core and has one worker; on two, to two cores and has two. Each run is a
process of its own, as a user starts it, and writes a new file; the files of both must be equal to the byte. Beside the
wall time of the whole command stand the seconds of its work alone, which leave out importing and, where the method is
compiled, loading what was compiled: a first run, which is not counted, fills that cache.

    python benchmarks/proposals_make.py --method selective_search --data photographs.yaml --split train

Processor time tells what other work on a busy machine hides: on one core the command takes that of its own process and
of its worker; on two, at the least, that of its own process and half of that of both workers. Their quotient,
``ratio_of_processor_time``, is what two free cores give at best: it sees what the workers cost each other, and not who
waits for whom.

The best of the rounds counts, since other work on the machine can only slow a run down; all rounds are in the JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from detzoo.data import list_splits, open_dataset

WORK = """
import json, resource, sys, time
from pathlib import Path
from detzoo.data import open_dataset
from detzoo.proposals.making import make_proposals
from detzoo.proposals.method import find_method

method, data, split, out, workers, most = sys.argv[1:]
opened = [open_dataset(data, split)]
start, own = time.perf_counter(), time.process_time()
make_proposals(opened, find_method(method), Path(out), workers=int(workers), most=int(most), progress=False)
seconds, own = time.perf_counter() - start, time.process_time() - own
children = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([seconds, own, children.ru_utime + children.ru_stime]))
"""


def main() -> None:
    args = arguments()
    split = args.split or list_splits(args.data)[0]
    images = min(args.images, len(open_dataset(args.data, split)))
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        sys.exit("this benchmark needs two cores")
    rounds: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        timed(args, split, cores, Path(folder) / "warm", images=2)
        for number in range(args.rounds):
            one = timed(args, split, cores[:1], Path(folder) / f"{number}-one", images=images)
            two = timed(args, split, cores, Path(folder) / f"{number}-two", images=images)
            assert (Path(folder) / f"{number}-one").read_bytes() == (Path(folder) / f"{number}-two").read_bytes()
            rounds.append({f"one_core_{name}": value for name, value in one.items()})
            rounds[-1] |= {f"two_cores_{name}": value for name, value in two.items()}
            print(json.dumps(rounds[-1]), flush=True)
    best = {name: min(each[name] for each in rounds) for name in rounds[0]}
    figures: dict[str, Any] = {
        "method": args.method,
        "data": open_dataset(args.data, split).name,
        "images": images,
        **best,
        "ratio": round(best["one_core_s"] / best["two_cores_s"], 2),
        "ratio_of_whole_commands": round(best["one_core_whole_s"] / best["two_cores_whole_s"], 2),
        "ratio_of_processor_time": round(best["one_core_processor_s"] / best["two_cores_processor_s"], 2),
        "rounds": rounds,
        "load_average": [round(value, 2) for value in os.getloadavg()],
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
    print(json.dumps(figures, indent=1))
    if args.out:
        args.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def timed(args: Any, split: str, cores: list[int], out: Path, *, images: int) -> dict[str, float]:
    """Seconds of the work, of the whole process, and of processor time on the busier core at the least."""
    words = [args.method, args.data, split, str(out), str(len(cores)), str(images)]
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", WORK, *words],
        check=False,
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    if done.returncode:
        sys.exit(done.stderr)
    whole = time.perf_counter() - start
    seconds, own, children = json.loads(done.stdout)
    found = {"s": seconds, "whole_s": whole, "processor_s": own + children / len(cores)}
    return {name: round(value, 3) for name, value in found.items()}


def arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="selective_search")
    parser.add_argument("--data", default="shapes:size=400,train=40", help="as `detzoo data info` takes it")
    parser.add_argument("--split", help="the first without it")
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
