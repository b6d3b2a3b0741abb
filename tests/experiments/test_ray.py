"""Sweeps over real Ray clusters on this machine: Ray's own processes, its own scheduler, lost machines and all."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from detzoo.errors import DetzooError
from detzoo.experiments.ray_cluster import RayWorkers, ray_module
from detzoo.runtime.folder_claim import wait_for_folder
from detzoo.training.log import read_curve
from tests.experiments.processes import detzoo, resumed_after, wait_for

installed = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install 'detzoo[ray]'"
)
QUIET = {
    "RAY_AUTH_MODE": "disabled",  # no token in the home folder
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_USAGE_STATS_REPORT_URL": "http://127.0.0.1:9",  # Ray would report that it reports nothing
    "RAY_worker_niceness": "0",
}
SEEDS = ("--set", "train.seed=0,1", "--epochs", "3")
NAMES = ("train.seed=0", "train.seed=1")


@dataclass
class Machines:
    """The cluster of ``ray_machines.py``."""

    process: subprocess.Popen[str]
    address: str

    def order(self, line: str) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "ok\n"


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    script = Path(__file__).with_name("ray_machines.py")
    # Names of sockets may have 107 letters, fewer than pytest's folders
    with (
        tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder,
        subprocess.Popen(
            [sys.executable, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "RAY_TMPDIR": folder} | QUIET,
        ) as process,
    ):
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.rpartition(":")[2].isdecimal()
        yield Machines(process, address)
        process.communicate(timeout=60)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep of two seeds as the devices of this machine do it."""
    out = tmp_path_factory.mktemp("local") / "s"
    with detzoo(out, *SEEDS, "--devices", "cpu") as process:
        _, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    return out


def runs(out: Path) -> list[dict[str, Any]]:
    """What sweep.json knows, without what a clock decides."""
    entries = json.loads((out / "sweep.json").read_text())["runs"]
    return [{key: value for key, value in entry.items() if key != "seconds"} for entry in entries]


def curves(out: Path) -> list[str]:
    return [(out / "runs" / name / "curve.csv").read_text() for name in NAMES]


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DetzooError) as caught:
        ray_module()
    assert str(caught.value) == "--ray needs Ray: pip install 'detzoo[ray]'"


@installed
def test_nobody_answers(tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound, but it does not listen
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(DetzooError) as caught:
            RayWorkers(address, tmp_path)
    assert str(caught.value) == (
        f"--ray {address}: no Ray cluster answers there: [Errno {errno.ECONNREFUSED}] Connection refused; start one "
        "with `ray start --head`, or write --ray local for one on this machine"
    )


@installed
@pytest.mark.slow
def test_a_sweep_over_ray_ends_as_one_over_local_workers(machines: Machines, local: Path, tmp_path: Path) -> None:
    out = tmp_path / "s"
    with detzoo(out, *SEEDS, "--ray", machines.address, env=QUIET) as process:
        table, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    assert err.splitlines()[1:3] == [f"[{i}/2] {name}: training on Ray" for i, name in enumerate(NAMES, start=1)]
    assert runs(out) == runs(local)
    assert [entry["state"] for entry in runs(out)] == ["done", "done"]
    assert curves(out) == curves(local)
    for name in NAMES:
        ours, theirs = (load_file(folder / "runs" / name / "best.safetensors") for folder in (out, local))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert table.splitlines()[4].split()[0] == max(runs(out), key=lambda entry: entry["AP"])["name"]


@installed
@pytest.mark.slow
def test_a_killed_sweep_goes_on(machines: Machines, local: Path, tmp_path: Path) -> None:
    out = tmp_path / "s"
    # Of two cores, which is all there are: one run at a time
    order = [*SEEDS, "--ray", machines.address, "--ray-cpus", "2"]
    second = out / "runs" / NAMES[1]
    with detzoo(out, *order, env=QUIET) as process:
        wait_for(lambda: len(read_curve(second)) == 2, "two epochs of the second run")
        process.kill()
    wait_for_folder(second)  # Ray ends the runs of a sweep that is gone
    before = len(read_curve(second))
    with detzoo(out, *order, env=QUIET) as process:
        _, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    assert err.splitlines()[0] == f"2 runs in {out}: 1 to train, 1 done before"
    assert resumed_after(out, NAMES[1]) >= before - 1 >= 1
    assert curves(out) == curves(local)
    assert [entry["AP"] for entry in runs(out)] == [entry["AP"] for entry in runs(local)]


@installed
@pytest.mark.slow
def test_a_run_whose_machine_is_lost_goes_on_elsewhere(machines: Machines, local: Path, tmp_path: Path) -> None:
    out = tmp_path / "s"
    order = ["--set", "train.seed=0", "--epochs", "3", "--ray", machines.address, "--ray-cpus", "3"]
    run = out / "runs" / NAMES[0]
    machines.order("add a 3")
    with detzoo(out, *order, env=QUIET) as process:
        wait_for(lambda: len(read_curve(run)) == 1, "the first epoch")
        machines.order("lose a")
        machines.order("add b 3")
        _, err = process.communicate(timeout=500)
    machines.order("lose b")
    assert process.returncode == 0, err
    assert resumed_after(out, NAMES[0]) in (0, 1)  # its row is written before its checkpoint
    assert (run / "curve.csv").read_text() == curves(local)[0]
    assert runs(out) == runs(local)[:1]


@installed
@pytest.mark.slow
def test_ctrl_c(machines: Machines, tmp_path: Path) -> None:
    out = tmp_path / "s"
    order = ["--set", "train.seed=0", "--epochs", "2000", "--ray", machines.address]
    run = out / "runs" / NAMES[0]
    with detzoo(out, *order, env=QUIET) as process:
        wait_for(lambda: len(read_curve(run)) >= 2, "two epochs")
        process.send_signal(signal.SIGINT)
        table, err = process.communicate(timeout=200)
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "stopped; repeat the command to resume"
    assert "epochs so far" in table
    assert [entry["state"] for entry in runs(out)] == ["stopped"]
    wait_for_folder(run)
    assert (run / "last.safetensors").is_file()


@installed
@pytest.mark.slow
def test_what_no_cluster_can_do_is_said(machines: Machines, tmp_path: Path) -> None:
    large = ["--set", "train.seed=0", "--ray", machines.address, "--ray-cpus", "64"]
    with detzoo(tmp_path / "s", *large, env=QUIET) as process:
        _, err = process.communicate(timeout=200)
    assert process.returncode == 2, err
    assert err.splitlines()[-1] == (
        "error: no machine of the Ray cluster has the 64 cores and 0 GPUs that each run asks for; it has: "
        "2 cores, 0 GPUs; choose --ray-cpus and --ray-gpus"
    )


@installed
@pytest.mark.slow
def test_a_cluster_of_its_own_and_a_run_that_fails(tmp_path: Path) -> None:
    out, bad = tmp_path / "s", str(tmp_path / "none.pth")
    order = ["--set", f"backbone.weights=null,{bad}", "--weights", "backbone", "--epochs", "1"]
    quiet = {name: value for name, value in QUIET.items() if name != "RAY_USAGE_STATS_ENABLED"}
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        with detzoo(out, *order, "--ray", "local", env=quiet | {"RAY_TMPDIR": folder}) as process:
            _, err = process.communicate(timeout=500)
        (said,) = Path(folder).glob("ray/session_latest/logs/dashboard.log")
        assert "Usage reporting is disabled." in said.read_text()
    assert process.returncode == 2, err
    assert err.splitlines()[-1] == "error: 1 of 2 runs failed; see the notes below the table"
    good, failed = runs(out)
    assert (good["state"], good["epochs"], failed["state"]) == ("done", 1, "failed")
    assert bad in failed["why"]
    assert failed["why"] in err
