"""``torchvision.models.detection`` is a reference for tests and benchmarks: the project runs without it."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("torchvision.models.detection"):
            raise ImportError(f"{name} is blocked")
        return None

import torchvision.models
for name in [n for n in sys.modules if n.startswith("torchvision.models.detection")]:
    del sys.modules[name]
if hasattr(torchvision.models, "detection"):
    del torchvision.models.detection
sys.meta_path.insert(0, Blocked())
try:
    import torchvision.models.detection
except ImportError:
    pass
else:
    raise SystemExit("not blocked")

import numpy as np
import detzoo
from detzoo.data.prepare import collate
from detzoo.types import Sample

picture = np.zeros((50, 70, 3), np.uint8)
no = np.zeros(1, np.bool_)
sample = Sample(picture, np.array([[5, 5, 40, 40]], np.float32), np.array([0]), no, no, 0, "black")
small = {"input.min_size": 64, "input.max_size": 96, "neck.channels": 64}
for name in ("retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2", "fcos_resnet50_fpn"):
    detector = detzoo.build(name, num_classes=2, weights=None, overrides=small)
    losses = detector.losses(*collate([sample, sample], detector.input))
    sum(losses.values()).backward()
    assert len(detector.eval().predict([picture])) == 1
print("fine")
"""


def test_the_project_runs_with_torchvision_detection_blocked() -> None:
    ran = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "fine\n"
    assert "torchvision.models.detection" not in ran.stderr
