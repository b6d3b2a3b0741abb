"""Weights out of ONNX files: named and unnamed layers, and damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detzoo.errors import WeightsError
from detzoo.weights.onnx_initialisers import layers_of, read_initialisers
from detzoo.weights.sources import read_state_dict

onnx = pytest.importorskip("onnx")


def graph(tmp_path: Path, *, external: bool = False) -> tuple[Path, dict[str, np.ndarray]]:
    """conv with numbers for names -> conv with a module's names; a constant that is no weight."""
    draw = np.random.default_rng(0)
    values = {
        "12": draw.normal(size=(4, 3, 1, 1)).astype(np.float32),
        "13": draw.normal(size=4).astype(np.float32),
        "head.pred.weight": draw.normal(size=(2, 4, 1, 1)).astype(np.float32),
        "head.pred.bias": draw.normal(size=2).astype(np.float32),
        "grid.weight": np.ones((1, 2, 8, 8), np.float32),
    }
    helper = onnx.helper
    nodes = [
        helper.make_node("Conv", ["images", "12", "13"], ["a"]),
        helper.make_node("Conv", ["a", "head.pred.weight", "head.pred.bias"], ["b"]),
        helper.make_node("Add", ["b", "grid.weight"], ["out"]),
    ]
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, [1, 2, 8, 8])],
        [onnx.numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    path = tmp_path / "net.onnx"
    model = helper.make_model(made)
    onnx.save(model, str(path), save_as_external_data=external, size_threshold=0)
    return path, values


def test_names_of_modules_stay_and_others_become_numbers(tmp_path: Path) -> None:
    path, values = graph(tmp_path)
    state = read_state_dict(path)
    assert sorted(state) == ["#000.Conv.bias", "#000.Conv.weight", "head.pred.bias", "head.pred.weight"]
    np.testing.assert_array_equal(state["head.pred.weight"], values["head.pred.weight"])
    [layer] = layers_of(state)
    np.testing.assert_array_equal(layer["weight"], values["12"])
    np.testing.assert_array_equal(layer["bias"], values["13"])


def test_weights_beside_the_file_are_not_read(tmp_path: Path) -> None:
    path, _ = graph(tmp_path, external=True)
    with pytest.raises(WeightsError, match="separate files"):
        read_initialisers(path)


@pytest.mark.parametrize("content", [b"", b"\x08", b"PK\x03\x04" + bytes(100), bytes(range(256)) * 4])
def test_no_onnx_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"net\.onnx"):
        read_state_dict(path)


def test_cut_anywhere_it_is_one_message_or_fewer_weights(tmp_path: Path) -> None:
    path, values = graph(tmp_path)
    whole = path.read_bytes()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        try:
            state = read_state_dict(path)
        except WeightsError:
            continue
        assert set(state) <= {"#000.Conv.bias", "#000.Conv.weight", "head.pred.bias", "head.pred.weight"}, size
    assert values
