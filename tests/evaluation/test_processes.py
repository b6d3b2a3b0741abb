"""Two processes, each with half of the images, give the numbers of one."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch.distributed
import torch.multiprocessing

STUBS = Path(__file__).with_name("conftest.py")


def evaluated() -> dict[str, Any]:
    from detzoo.evaluation import evaluate

    stubs = runpy.run_path(str(STUBS))
    evaluation = evaluate(stubs["PaintFinder"](), stubs["Paintings"](), progress=False)
    return {"metrics": evaluation.as_dict()["metrics"], "detections": list(evaluation.detections)}


def work(rank: int, folder: str) -> None:
    store = f"file://{folder}/store"
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    (Path(folder) / f"{rank}.json").write_text(json.dumps(evaluated()))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes(tmp_path: Path) -> None:
    spawn: Any = vars(torch.multiprocessing)["spawn"]  # torch neither exports nor annotates it
    spawn(work, (str(tmp_path),), nprocs=2)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first == second == json.loads(json.dumps(evaluated()))
    assert len(first["detections"]) == 14
