"""Selective search on 500-px photographs, against OpenCV contrib's with the same colour spaces, k and strategies.

    python -m venv contrib && contrib/bin/pip install opencv-contrib-python-headless
    python benchmarks/selective_search.py --contrib contrib/bin/python [--images 12] [--repeats 5] [--out FILE]

Both work on one image at a time, in turn: OpenCV contrib in a process of its own, which only waits meanwhile. The
ratio of an image is the median of the ratios of neighbouring pairs; the one reported is the median over images.
One core: processor time, both with one thread, so that others on the machine do no harm. Two cores: wall time of ours
with two threads against theirs, OpenCV with two threads as well: that wants an idle machine, and the load average is
reported beside it. numba has compiled beforehand: that takes seconds, once for an installation. Memory: the growth of
the peak over what is resident after imports and compilation, in a process of its own.

Photographs: COCO128 in ``../shared``, beside the checkout, resized to a longer side of 500 px.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from detzoo_rcnn.selective_search import SelectiveSearch

SHARED: Final = Path(__file__).parents[2] / "shared" / "data" / "coco128" / "images" / "val2017"
SAME: Final[dict[str, Any]] = {"mode": "fast", "k": (150, 300, 450), "min_size": 100, "graph": "grid4"}
CHILD: Final = Path(__file__).with_name("contrib_selective_search.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contrib", help="a Python with opencv-contrib-python-headless")
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory:
        memory_of(Path(args.memory))
        return
    with tempfile.TemporaryDirectory() as folder:
        paths = resized(Path(folder), args.images)
        rows = [measured(args, paths, threads, name, fields) for threads in (1, 2) for name, fields in VARIANTS.items()]
        own = [sys.executable, str(Path(__file__)), "--memory", str(paths[0])]
        memory = json.loads(subprocess.run(own, check=True, capture_output=True, text=True).stdout)
    result = {"machine": platform.machine(), "cores": os.cpu_count(), "rows": rows, "memory": memory}
    print(json.dumps(result, indent=1))
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


VARIANTS: Final[dict[str, dict[str, Any]]] = {
    "OpenCV's settings": SAME,
    "OpenCV's settings, 8 neighbours": SAME | {"graph": "grid8"},
    "own fast mode": {"mode": "fast"},
}


def resized(folder: Path, count: int) -> list[Path]:
    """The first photographs, their longer side 500 px, without loss."""
    found = []
    for path in sorted(SHARED.glob("*.jpg"))[:count]:
        image = cv2.imread(str(path))
        assert image is not None
        ratio = 500 / max(image.shape[:2])
        size = round(image.shape[1] * ratio), round(image.shape[0] * ratio)
        found.append(folder / f"{path.stem}.png")
        cv2.imwrite(str(found[-1]), cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    return found


def measured(args: Any, paths: list[Path], threads: int, name: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Medians in ms, and of the ratios of neighbours."""
    clock = "cpu" if threads == 1 else "wall"
    tick = time.process_time if threads == 1 else time.perf_counter
    cv2.setNumThreads(threads)
    search = SelectiveSearch(**fields, threads=threads)
    child = subprocess.Popen(
        [args.contrib, str(CHILD), "fast", "1", str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    ours, theirs, ratios, version = [], [], [], ""
    for path in paths:
        image = np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])  # type: ignore[index]
        pairs = []
        for _ in range(args.repeats + 1):  # the first round warms up
            child.stdin.write(f"{path}\n")
            child.stdin.flush()
            answer = json.loads(child.stdout.readline())
            start = tick()
            search(image)
            pairs.append((answer[clock] * 1000, (tick() - start) * 1000))
            version = answer["opencv"]
        theirs += [statistics.median(a for a, _ in pairs[1:])]
        ours += [statistics.median(b for _, b in pairs[1:])]
        ratios += [statistics.median(a / b for a, b in pairs[1:])]
    child.stdin.close()
    child.wait()
    return {
        "what": name,
        "threads": threads,
        "clock": clock,
        "opencv": version,
        "images": len(paths),
        "load_average": round(os.getloadavg()[0], 1),
        "opencv_contrib_ms": round(statistics.median(theirs), 1),
        "detzoo_ms": round(statistics.median(ours), 1),
        "ratio": round(statistics.median(ratios), 2),
        "lowest_ratio_of_an_image": round(min(ratios), 2),
    }


def memory_of(path: Path) -> None:
    """Print the growth of this process's peak memory by one search, in MB."""
    image = np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])  # type: ignore[index]
    for fields in VARIANTS.values():
        SelectiveSearch(**fields, threads=2)(image[:40, :40].copy())
    grown = {}
    for name, fields in (VARIANTS | {"own quality mode": {"mode": "quality"}}).items():
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak is counted from here
        before = status("VmRSS")
        SelectiveSearch(**fields, threads=2)(image)
        grown[name] = round((status("VmHWM") - before) / 1024, 1)
    print(json.dumps({"peak_above_imports_mb": grown, "height_width": image.shape[:2]}))


def status(name: str) -> int:
    """A line of this process's status, kB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    main()
