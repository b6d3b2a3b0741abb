"""``proposals make``: one file whatever the order, the workers and the interruptions; nothing is reused silently."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from detzoo.data import open_dataset
from detzoo.errors import DetzooError, MachineError, RecipeError
from detzoo.interfaces import Proposer
from detzoo.prediction.proposal_file import ProposalFile, ProposalsError, image_key
from detzoo.proposals.making import make_proposals
from detzoo.proposals.method import Method, find_method
from detzoo.proposals.store import ProposalStore
from detzoo.runtime.drawing import write_image
from detzoo.runtime.parallel import in_parallel

KEYS = [bytes([number]) * 16 for number in range(4)]


def boxes(count: int) -> NDArray[np.float32]:
    return np.tile(np.array([1, 2, 3, 4.5], np.float32), (count, 1))


def noisy_set(folder: Path, count: int) -> Path:
    """A YOLO dataset of ``count`` different small images, one box each."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    (folder / "classes.txt").write_text("thing\n")
    for number in range(count):
        image = np.random.default_rng(number).integers(0, 256, (24, 32, 3), np.uint8)
        write_image(folder / "images" / f"{number:03d}.png", image)
        (folder / "labels" / f"{number:03d}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    return folder


def test_a_file_holds_what_the_method_gives_for_each_image(tmp_path: Path) -> None:
    data = [open_dataset("shapes:train=3,val=2,size=64", split) for split in ("train", "val")]
    method = find_method("uniform", ["count=7"])
    made = make_proposals(data, method, tmp_path / "u.safetensors", workers=0, progress=False)
    file = ProposalFile(tmp_path / "u.safetensors")
    assert (file.method, file.parameters) == (
        "uniform",
        {"count": 7, "scale": [0.05, 1.0], "aspect": [0.25, 4.0], "seed": 0},
    )
    assert (made.images, made.reused, made.boxes, len(file)) == (5, 0, 7.0, 5)
    for each in data:
        for position in range(len(each)):
            image = each.sample(position).image
            expected, scores = method.build()(image)
            found = file[image_key(image)]
            assert np.array_equal(found[0], expected)
            assert np.array_equal(found[1], scores)
    assert os.listdir(tmp_path) == ["u.safetensors"]


def test_no_images_at_all(tmp_path: Path) -> None:
    made = make_proposals([], Method("uniform"), tmp_path / "none.safetensors", workers=2, progress=False)
    assert (made.images, made.boxes, made.seconds) == (0, 0.0, None)
    assert len(ProposalFile(tmp_path / "none.safetensors")) == 0


def test_workers_order_and_pieces_do_not_change_a_byte(tmp_path: Path) -> None:
    data = open_dataset(noisy_set(tmp_path / "data", 7))
    method = find_method("gaussian", ["count=5"])
    files = [tmp_path / name for name in ("one", "two", "pieces")]
    make_proposals([data], method, files[0], workers=0, progress=False)
    make_proposals([data.subset(range(6, -1, -1))], method, files[1], workers=2, progress=False)
    make_proposals([data.subset([4, 2])], method, files[2], workers=0, progress=False)
    made = make_proposals([data], method, files[2], workers=0, progress=False)
    assert (made.images, made.reused) == (7, 2)
    assert files[0].read_bytes() == files[1].read_bytes() == files[2].read_bytes()


def test_a_file_that_holds_everything_is_left_alone(tmp_path: Path) -> None:
    data, method, path = open_dataset("shapes:train=2", "train"), find_method("uniform"), tmp_path / "u"
    make_proposals([data], method, path, workers=0, progress=False)
    before = path.stat()
    made = make_proposals([data], method, path, workers=0, progress=False)
    assert (made.images, made.reused, made.seconds) == (2, 2, None)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_file_of_other_parameters_is_refused_with_every_difference(tmp_path: Path) -> None:
    data, path = open_dataset("shapes:train=1", "train"), tmp_path / "u"
    make_proposals([data], find_method("uniform"), path, workers=0, progress=False)
    content = path.read_bytes()
    with pytest.raises(ProposalsError) as raised:
        make_proposals([data], find_method("uniform", ["count=50", "scale=[0.1,1.0]"], 20), path, progress=False)
    assert str(raised.value) == (
        f"{path} holds other proposals than were asked for:\n"
        "  count: 1000 in the file, 50 asked for\n"
        "  scale[0]: 0.05 in the file, 0.1 asked for\n"
        "  kept_boxes: absent in the file, 20 asked for\n"
        "Give --method and --set as in the file to add images to it, or choose another --out (nothing was changed)."
    )
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["u"]


def test_only_the_best_boxes_are_kept(tmp_path: Path) -> None:
    data, method = open_dataset("shapes:train=1", "train"), find_method("uniform", kept=3)
    make_proposals([data], method, tmp_path / "u", workers=0, progress=False)
    image = data.sample(0).image
    assert np.array_equal(ProposalFile(tmp_path / "u")[image_key(image)][0], method.build()(image)[0][:3])


def test_broken_images_are_named_and_the_rest_is_done(tmp_path: Path) -> None:
    folder = noisy_set(tmp_path / "data", 3)
    broken = folder / "images" / "001.png"
    data = open_dataset(folder)
    broken.write_bytes(broken.read_bytes()[:60])
    made = make_proposals([data], find_method("uniform"), tmp_path / "u", workers=0, progress=False)
    assert made.images == len(ProposalFile(tmp_path / "u")) == 2
    assert list(made.broken) == [str(broken)]
    assert f"left out: 1 images that cannot be read:\n  {broken}: " in str(made)


def test_an_image_of_two_splits_is_made_once(tmp_path: Path) -> None:
    data = open_dataset(noisy_set(tmp_path / "data", 3))
    made = make_proposals([data, data.subset([1])], find_method("uniform"), tmp_path / "u", workers=0, progress=False)
    assert made.images == 3


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    message = f"{tmp_path} is a folder; --out takes the file to write, such as {tmp_path / 'regions.safetensors'}"
    with pytest.raises(ProposalsError) as raised:
        make_proposals([], Method("uniform"), tmp_path, progress=False)
    assert str(raised.value) == message


def test_methods_are_checked_like_recipes() -> None:
    with pytest.raises(RecipeError) as raised:
        find_method("uniform:cunt=3", ["seed=-1"])
    assert str(raised.value) == (
        '--set cunt: unknown key "cunt" of proposer "uniform"; did you mean "count"? '
        "allowed: aspect, count, scale, seed\n--set seed: found -1; expected a whole number >= 0"
    )
    with pytest.raises(RecipeError, match=r'unknown proposer "unifrom"; did you mean "uniform"\?'):
        find_method("unifrom")
    assert find_method("uniform:scale=[0.1,0.2],count=7").parameters["scale"] == [0.1, 0.2]
    assert find_method("core/uniform").name == "uniform"


def test_the_store_survives_a_cut_at_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "s.unfinished"
    sizes = []
    with ProposalStore(path, method="m", parameters={"k": 1}) as store:
        sizes.append(path.stat().st_size)
        for count, key in enumerate(KEYS):
            store.add(key, boxes(count), np.ones(count, np.float32), 0.5)
            sizes.append(path.stat().st_size)
    whole = path.read_bytes()
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        with ProposalStore(path, method="m", parameters={"k": 1}) as store:
            expected = max(0, sum(size <= length for size in sizes) - 1)
            assert list(store) == KEYS[:expected]
            assert all(np.array_equal(store[key][0], boxes(n)) for n, key in enumerate(KEYS[:expected]))
            for key in KEYS[expected:]:
                store.add(key, boxes(KEYS.index(key)), np.ones(KEYS.index(key), np.float32), 0.5)
        assert path.read_bytes() == whole


def test_the_store_does_not_believe_a_changed_record(tmp_path: Path) -> None:
    path = tmp_path / "s.unfinished"
    with ProposalStore(path, method="m", parameters={}) as store:
        for key in KEYS[:2]:
            store.add(key, boxes(2), np.ones(2, np.float32), 0.5)
    changed = bytearray(path.read_bytes())
    changed[-1] ^= 1
    path.write_bytes(changed)
    with ProposalStore(path, method="m", parameters={}) as store:
        assert list(store) == KEYS[:1]


def test_a_store_of_other_parameters_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.unfinished"
    ProposalStore(path, method="m", parameters={"k": 1}).__exit__(None, None, None)
    with pytest.raises(ProposalsError) as raised:
        ProposalStore(path, method="m", parameters={"k": 2})
    assert str(raised.value) == (
        f"{path} holds other proposals than were asked for:\n  k: 1 in the file, 2 asked for\n"
        "It was left by an interrupted command: repeat that one, or delete the file, or choose another --out."
    )
    path.write_text("something else\n")
    with pytest.raises(ProposalsError, match="is no unfinished file of proposals; move it away and repeat the command"):
        ProposalStore(path, method="m", parameters={"k": 2})
    assert path.read_text() == "something else\n"


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_killed_and_resumed_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    command = [sys.executable, str(Path(__file__).with_name("kill_proposals.py")), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "['killed', 'whole']"


class Dying:
    """Ends its process at the third task."""

    def __call__(self, task: int) -> int:
        if task == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return task


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_worker_that_is_killed_is_told() -> None:
    with pytest.raises(DetzooError, match="a worker process ended by signal 9, perhaps for lack of memory"):
        list(in_parallel(Dying(), range(8), 2))


class Failing(Proposer):
    """Gives boxes that are none."""

    def __init__(self) -> None:
        pass

    def __call__(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """NaN."""
        return np.full((1, 4), np.nan, np.float32), np.ones(1, np.float32)


def test_boxes_that_are_none_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Method, "build", lambda self: Failing())
    data = open_dataset("shapes:train=1", "train")
    with pytest.raises(ProposalsError, match="uniform gave NaN or infinite coordinates or scores"):
        make_proposals([data], Method("uniform"), tmp_path / "u", workers=0, progress=False)


def test_a_full_disk_at_the_start_is_the_machine_s_failure(tmp_path: Path) -> None:
    data = [open_dataset("shapes:train=1,val=1,size=64", "train")]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, limits[1]))  # bytes
    try:
        with pytest.raises(MachineError, match=r"u\.safetensors: the file would be larger"):
            make_proposals(data, find_method("uniform", ["count=7"]), tmp_path / "u.safetensors", workers=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "u.safetensors").exists()
