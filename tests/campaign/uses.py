"""What is done with an input, and what must hold of whatever was read without an error."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detzoo import load
from detzoo.builder import build_recipe
from detzoo.data import list_splits, open_dataset
from detzoo.data.checking.check import check, check_image
from detzoo.data.checking.report import as_json, as_lines, describe
from detzoo.data.checking.statistics import opening_lines, summarise
from detzoo.data.dataset import Dataset
from detzoo.data.formats.writing import write_datasets
from detzoo.errors import DataError, DetzooError, MachineError
from detzoo.evaluation.result_file import read_categories, read_results
from detzoo.evaluation.results import evaluate_detections
from detzoo.ops.mask_encoding import read_mask_values
from detzoo.plugins.listing import component_rows, detector_rows, plugin_lines, render
from detzoo.plugins.registry import Registry
from detzoo.recipes.editor_schema import kind_schema
from detzoo.recipes.recipe import load_recipe
from detzoo.recipes.text import as_json as recipe_json
from detzoo.recipes.text import as_yaml, with_origins
from detzoo.runtime.images import read_header, read_image
from detzoo.runtime.machine_failures import machine_failure
from detzoo.weights.checkpoint import load_checkpoint
from detzoo.weights.detector import check_values
from detzoo.weights.sources import read_state_dict
from tests.campaign.valid_files import small_network


def printed(text: str) -> None:
    """Assert that a terminal can show a text: the command line replaces what UTF-8 cannot hold."""
    assert isinstance(text, str)
    text.encode(errors="backslashreplace")


def use_dataset(place: Path) -> None:
    """Everything that ``detzoo data`` and a training do with a dataset."""
    problems = check(place)
    printed(as_lines(problems, None))
    json.loads(as_json(problems))
    for problem in problems:
        assert problem.line is None or problem.line > 0
        assert "Traceback" not in problem.message
    for name in list_splits(place):
        try:
            data = open_dataset(place, name, quiet=True)
        except DataError:
            continue
        _hold(data)


def _hold(data: Dataset) -> None:
    index = data.annotations()
    assert np.isfinite(index.boxes).all(), "a box is not finite"
    assert (index.boxes[:, :2] < index.boxes[:, 2:]).all(), "a box is empty"
    assert (index.labels >= 0).all()
    assert (index.labels < len(data.classes)).all()
    assert np.isfinite(index.areas).all()
    assert (index.areas >= 0).all()
    assert len(set(data.image_ids)) == len(data)
    if index.federated is not None:
        for lists in (index.federated.negative, index.federated.not_exhaustive):
            assert len(lists.ends) == len(data)
            assert set(lists.labels.tolist()) <= set(range(len(data.classes)))
    truth = data.coco_ground_truth()
    json.dumps(truth, allow_nan=False)
    json.dumps(summarise(data), allow_nan=False)
    printed(describe(summarise(data)))
    for line in opening_lines(data):
        printed(line)
    for position in range(min(len(data), 5)):
        try:
            sample = data[position]
        except DataError:
            continue
        height, width = sample.image.shape[:2]
        assert sample.image.dtype == np.uint8
        assert np.isfinite(sample.boxes).all()
        assert (sample.boxes >= -1e-3).all(), "a box begins outside of its image"
        assert (sample.boxes <= np.array([width, height, width, height]) + 1e-3).all(), "a box ends outside"
        assert sample.masks is None or sample.masks.shape == (len(sample.boxes), height, width)


def convert_dataset(place: Path) -> None:
    """Write a dataset in every format, and read it back: what was read can be written."""
    splits = {name: open_dataset(place, name, quiet=True) for name in list_splits(place)}
    for form in ("coco", "voc", "yolo"):
        out = place.parent / "converted" / form if place.is_file() else place / "converted" / form
        try:
            write_datasets(splits, out, form)
        except DetzooError:
            assert not out.exists(), f"{form}: half a dataset stays"
            continue
        for name in list_splits(out / "data.yaml"):
            _hold(open_dataset(out / "data.yaml", name, quiet=True))


def use_image(path: Path) -> None:
    """Read an image as prediction, training and the check do."""
    found, digest = check_image(str(path), (17, 24))
    assert digest is not None or any(problem.severity == "error" for problem in found)
    try:
        size = read_header(path).size
        image = read_image(path)
    finally:
        with_values(path)
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape == (*size, 3), f"the header says {size}"


def with_values(path: Path) -> None:
    """The same file as a mask."""
    try:
        values = read_mask_values(path)
    except DataError:
        return
    assert values.ndim == 2


def use_results(folder: Path) -> None:
    """Score a result file."""
    data = open_dataset(folder / "truth.json", quiet=True)
    truth = data.coco_ground_truth()
    found = read_results(folder / "detections.json", truth, categories=read_categories(str(folder / "names.json")))
    evaluation = evaluate_detections(found.rows, truth, warnings=found.warnings)
    for name, value in evaluation.metrics.items():
        assert np.isnan(value) or 0 <= value <= 1, f"{name} is {value}"
    json.dumps(evaluation.as_dict(), allow_nan=False)


def use_recipe(path: Path, overrides: list[str]) -> Any:
    """Read a recipe and show it in every form."""
    recipe = load_recipe(path, overrides)
    for text in (as_yaml(recipe), recipe_json(recipe), with_origins(recipe)):
        printed(text)
    (path.parent / "again.yaml").write_text(as_yaml(recipe), errors="backslashreplace")
    assert as_yaml(load_recipe(path.parent / "again.yaml")).partition("summary")[0], "it cannot be read again"
    (path.parent / "again.yaml").unlink()
    return recipe


@contextlib.contextmanager
def small_memory() -> Iterator[None]:
    """A recipe may ask for a network that does not fit; the command line has a message for it."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        reason = machine_failure(error)
        if reason is None:
            raise
        raise MachineError(reason) from None


def build_and_look(path: Path, overrides: list[str]) -> None:
    """Build a recipe's detector and let it look at one image."""
    recipe = load_recipe(path, overrides)
    with small_memory():
        detector = build_recipe(recipe, backbone_weights=False).eval()
    found = detector.predict([torch.zeros(3, 20, 30, dtype=torch.uint8)], score_threshold=0.0)
    assert bool(torch.as_tensor(found[0].boxes).isfinite().all())


def use_manifest(folder: Path) -> None:
    """One plugin next to the core: listed, its components in the schema, its recipe resolved; the core must go on."""
    registry = Registry([EntryPoint("x", "zoo_x.plugin", "detzoo.plugins")])
    printed(render(detector_rows(registry), None, as_json=False, wide=True))
    printed(render(component_rows("neck", registry), None, as_json=False, wide=False))
    json.dumps([kind_schema(registry, kind, {}) for kind in _kinds_of("x", registry)])
    printed("\n".join(plugin_lines(registry.plugins.records["x"], registry)))
    for name in registry.detectors():
        try:
            load_recipe(name, registry=registry)
        except DetzooError as error:
            printed(str(error))


def _kinds_of(plugin: str, registry: Registry) -> set[str]:
    """The kinds of a plugin's components: their part of the editors' schema; the whole takes a second."""
    return {entry.kind for kind in registry.kinds for entry in registry.entries(kind) if entry.plugin == plugin}


def use_weights(path: Path) -> None:
    """Read a state dict and hold it against a network."""
    state = read_state_dict(path)
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    check_values(small_network(), state, path)


def use_checkpoint(path: Path) -> None:
    """Read a checkpoint whole, and build its detector."""
    load_checkpoint(path)
    with small_memory():
        detector = load(path)
    assert all(bool(value.isfinite().all()) for value in detector.state_dict().values() if value.is_floating_point())
