"""Files of proposals: what is written is read, and what is none is refused with a message."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from detzoo.data import open_dataset
from detzoo.prediction.proposal_file import KEY_BYTES, ProposalFile, ProposalsError, image_key, write_proposals
from detzoo.runtime.images import read_image


def boxes(count: int, seed: int = 0) -> NDArray[np.float32]:
    corners = np.random.default_rng(seed).uniform(0, 50, (count, 2, 2))
    return np.concatenate([corners.min(1), corners.max(1) + 1], axis=1).astype(np.float32)


def test_a_file_without_images(tmp_path: Path) -> None:
    path = tmp_path / "none.safetensors"
    write_proposals(path, {}, method="m", parameters={})
    read = ProposalFile(path)
    assert len(read) == 0
    assert read.regions(bytes(KEY_BYTES)) is None


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    keys = [np.random.default_rng(i).bytes(KEY_BYTES) for i in range(20)]
    regions = {key: (boxes(i, i), np.linspace(1, 0, i, dtype=np.float32)) for i, key in enumerate(keys)}
    write_proposals(path, regions, method="fast", parameters={"k": [50, 100], "sigma": 0.8})
    read = ProposalFile(path)
    assert len(read) == 20
    assert read.method == "fast"
    assert read.parameters == {"k": [50, 100], "sigma": 0.8}
    for key, (own, scores) in regions.items():
        assert key in read
        found = read.regions(key)
        assert found is not None
        assert np.array_equal(found[0], own)
        assert np.array_equal(found[1], scores)
        few = read.regions(key, 3)
        assert few is not None
        assert np.array_equal(few[0], own[:3])
    assert list(tmp_path.iterdir()) == [path]  # nothing half-written is left
    again = path.read_bytes()
    write_proposals(path, dict(reversed(regions.items())), method="fast", parameters={"sigma": 0.8, "k": [50, 100]})
    assert path.read_bytes() == again
    tensors = load_file(path)  # safetensors' own reader
    assert {name: list(value.shape) for name, value in tensors.items()} == {
        "keys": [20, 16],
        "ends": [20],
        "boxes": [190, 4],
        "scores": [190],
    }


def test_the_key_is_of_size_and_pixels() -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    other = image.copy()
    other[3, 5, 2] = 1
    keys = {image_key(image), image_key(other), image_key(image.reshape(6, 4, 3))}
    assert len(keys) == 3
    assert image_key(np.flip(image, 1)) == image_key(image)  # a view of the same pixels
    assert all(len(key) == KEY_BYTES for key in keys)


def test_dataset_and_predict_read_the_same_key(shared: Path) -> None:
    dataset = open_dataset(str(shared / "data" / "bccd"), "test")
    for position in range(3):
        sample = dataset.sample(position)
        assert image_key(sample.image) == image_key(read_image(sample.path))


def test_wrong_shapes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ProposalsError, match=r"an image needs a key of 16 bytes, boxes \[P,4\] and scores \[P\]"):
        write_proposals(tmp_path / "x", {bytes(16): (boxes(3), np.zeros(2, np.float32))}, method="m", parameters={})


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ProposalsError) as caught:
        ProposalFile(tmp_path / "x.safetensors")
    assert str(caught.value) == (
        f"{tmp_path / 'x.safetensors'}: no such file of proposals; `detzoo proposals make` writes one"
    )


def test_weights_are_no_proposals(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"conv.weight": np.zeros((2, 2), np.float32)}, path)
    with pytest.raises(
        ProposalsError, match=r"weights\.safetensors is no file of proposals; `detzoo proposals make` writes one"
    ):
        ProposalFile(path)


def test_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    path.write_bytes(b"not at all")
    with pytest.raises(ProposalsError, match="cannot be read as a file of proposals"):
        ProposalFile(path)


def test_a_newer_file(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    save_file({"keys": np.zeros((0, 16), np.uint8)}, path, metadata={"format": "detzoo.proposals", "version": "2"})
    with pytest.raises(ProposalsError, match="proposals of version 2, this detzoo reads 1: upgrade detzoo"):
        ProposalFile(path)


WHOLE = {"format": "detzoo.proposals", "version": "1", "method": "m", "parameters": "{}"}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"version": None}, "version unknown"),
        ({"method": None}, "method is None"),
        ({"parameters": None}, "parameters is None"),
        ({"parameters": "{"}, "not valid JSON"),
        ({"parameters": "[]"}, "a list, not a JSON object"),
        ({"parameters": "[" * 100_000}, "nested too deeply"),
    ],
)
def test_altered_metadata_are_told(changed: dict[str, str | None], told: str, tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    write_proposals(path, {bytes(16): (boxes(3), np.ones(3, np.float32))}, method="m", parameters={})
    tensors, metadata = load_file(path), {**WHOLE, **changed}
    save_file(tensors, path, metadata={name: value for name, value in metadata.items() if value is not None})
    with pytest.raises(ProposalsError, match=rf"p\.safetensors: .*{told}"):
        ProposalFile(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("keys", np.zeros((2, 8), np.uint8)),
        ("keys", np.zeros((2, 16), np.int8)),
        ("ends", np.array([1, 5])),  # beyond the three regions
        ("ends", np.array([5, 3])),
        ("ends", np.array([-1, 3])),
        ("ends", np.array([1.0, 3.0])),
        ("ends", np.array(3)),
        ("boxes", np.zeros((3, 5), np.float32)),
        ("scores", np.zeros(2, np.float32)),
        ("scores", np.zeros(3, np.float16)),
    ],
)
def test_tensors_that_do_not_belong_together_are_told(name: str, value: NDArray[np.generic], tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    regions = {bytes(16): (boxes(1), np.ones(1, np.float32)), bytes([1] * 16): (boxes(2), np.ones(2, np.float32))}
    write_proposals(path, regions, method="m", parameters={})
    save_file({**load_file(path), name: value}, path, metadata=WHOLE)
    with pytest.raises(ProposalsError, match=r"p\.safetensors: altered or damaged"):
        ProposalFile(path)
