"""OpenCV contrib's selective search, run in an environment of its own by the benchmarks beside this file.

    PYTHON_WITH_CONTRIB benchmarks/contrib_selective_search.py MODE SEED THREADS < paths > answers

Reads one path of an image per line; answers each with a line of JSON: boxes (x, y, width, height), seconds by the wall
clock and of the processor, and OpenCV's version. It puts boxes in order by C's rand(), which SEED sets. It
imports nothing of detzoo.
"""

from __future__ import annotations

import ctypes
import json
import sys
import time
from typing import Any


def main() -> None:
    import cv2

    contrib: Any = cv2
    mode, seed, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    contrib.setNumThreads(threads)
    ctypes.CDLL(None).srand(seed)
    for line in sys.stdin:
        image = contrib.imread(line.strip())
        search = contrib.ximgproc.segmentation.createSelectiveSearchSegmentation()
        wall, cpu = time.perf_counter(), time.process_time()
        search.setBaseImage(image)
        getattr(search, {"fast": "switchToSelectiveSearchFast", "quality": "switchToSelectiveSearchQuality"}[mode])()
        boxes = search.process()
        took = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        print(json.dumps({"boxes": boxes.tolist(), **took, "opencv": contrib.__version__}), flush=True)


if __name__ == "__main__":
    main()
