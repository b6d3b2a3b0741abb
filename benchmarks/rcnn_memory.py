"""Peak memory of ``fasterrcnn_resnet50_fpn`` at batch 2 and 800 x 1333 px, against torchvision's.

    python benchmarks/rcnn_memory.py [--threads 2] [--out FILE]

Each side runs in a process of its own, which only loads the same weights and predicts twice, or takes two training
steps. ``peak`` is the most that was resident, ``before`` that with the model loaded; CPU, glibc's own allocator.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

NAME, SIZE = "fasterrcnn_resnet50_fpn", (800, 1333)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--side", choices=("torchvision", "detzoo"), help=argparse.SUPPRESS)
    parser.add_argument("--what", choices=("predict", "train"), help=argparse.SUPPRESS)
    parser.add_argument("--weights", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps(measure(args)))
        return
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.pth"
        write_weights(weights)
        rows = [compare(what, weights, args.threads) for what in ("predict", "train")]
    if args.out:
        args.out.write_text(json.dumps({"threads": args.threads, "rows": rows}, indent=1) + "\n", encoding="utf-8")


def write_weights(path: Path) -> None:
    """torchvision's state dict, scaled so that there are detections."""
    import torch
    from rcnn_speed import as_tensor, seeded  # type: ignore[import-not-found]

    from detzoo.prediction.apply_switches import noise

    torch.save(seeded(NAME, [as_tensor(image) for image in noise(2, (240, 320))]).state_dict(), path)


def compare(what: str, weights: Path, threads: int) -> dict[str, Any]:
    row: dict[str, Any] = {"detector": NAME, "what": what, "batch": 2, "size": SIZE}
    for side in ("torchvision", "detzoo"):
        command = [sys.executable, __file__, "--side", side, "--what", what, "--weights", weights]
        done = subprocess.run([*map(str, command), "--threads", str(threads)], check=True, capture_output=True)
        row |= {f"{side}_{key}": value for key, value in json.loads(done.stdout).items()}
    row["ratio"] = round(row["torchvision_peak_mib"] / row["detzoo_peak_mib"], 2)
    print(json.dumps(row), flush=True)
    return row


def measure(args: Any) -> dict[str, int]:
    import torch
    from rcnn_speed import runner

    from detzoo.prediction.apply_switches import noise

    torch.set_num_threads(args.threads)
    run = runner(NAME, args.side, args.what, torch.load(args.weights, weights_only=True), noise(2, SIZE))
    before = peak()
    for _ in range(2):
        run()
    return {"before_mib": before, "peak_mib": peak()}


def peak() -> int:
    """MiB resident at most until now."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
