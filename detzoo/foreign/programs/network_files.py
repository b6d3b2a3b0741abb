"""ONNX, OpenVINO and PyTorch's program files: images prepared, the network run, its outputs read."""

from __future__ import annotations

import ast
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from detzoo.foreign.errors import ForeignError
from detzoo.foreign.options import ForeignOptions
from detzoo.foreign.presets import presets
from detzoo.foreign.programs.decoding import Reading, decode
from detzoo.foreign.programs.own_exports import OwnExport
from detzoo.foreign.programs.runtimes import OnnxRuntime, OpenVino, Port, Runtime, TorchProgram
from detzoo.foreign.protocol import ForeignProgram, Found, Image
from detzoo.foreign.target import ForeignTarget
from detzoo.prediction.input_spec import InputSpec
from detzoo.prediction.prepare import prepare
from detzoo.schema.describing import unknown
from detzoo.types import ImageBatch

_IMAGE_AXES = 3


def load_network_file(target: ForeignTarget, options: ForeignOptions, device: str, threads: int) -> ForeignProgram:
    """A network file behind the protocol; detzoo's own exports say themselves what they need.

    Raises:
        ForeignError: it cannot be read, or it is not known what goes in and what comes out.
    """
    torch.set_num_threads(threads)
    path = Path(target.place)
    runtime: Runtime
    if target.kind == "onnx" and options.runtime == "onnxruntime":
        runtime = OnnxRuntime(path, device, threads)
    elif target.kind in ("onnx", "openvino"):
        runtime = OpenVino(path, threads)
    else:
        runtime = TorchProgram(path, device, threads, script=target.kind == "torchscript")
    files = [path, path.with_suffix(".bin")] if target.kind == "openvino" else [path]
    facts = {"kind": target.kind, **runtime.facts, "weights_bytes": sum(os.stat(one).st_size for one in files)}
    if "detzoo.meaning" in runtime.metadata:
        return OwnExport(runtime, options, facts)
    return NetworkFile(runtime, options, facts)


class NetworkFile:
    """A network of anybody's, with what the options file says of it.

    Args:
        runtime: that runs it.
        options: what goes in and what comes out.
        facts: for protocols.

    Raises:
        ForeignError: something is not known, or does not fit the file.
    """

    def __init__(self, runtime: Runtime, options: ForeignOptions, facts: dict[str, Any]) -> None:
        self.runtime, self.options, self.facts = runtime, options, facts
        self.image = _image_port(runtime, options)
        self.spec = _input_spec(options, self.image)
        self.names = _names(runtime, options)
        if options.outputs is None and options.decoder in ("detections", "queries"):
            raise ForeignError(
                f"it is not known which of its outputs ({', '.join(runtime.outputs) or 'without names'}) mean what: "
                f"give a preset (--set preset={', '.join(presets())}), or a YAML file beside it with outputs: {{boxes: "
                "NAME, scores: NAME, labels: NAME}"
            )
        for role, name in (options.outputs or {}).items():
            if runtime.outputs and name not in runtime.outputs and role != "count":
                raise ForeignError(f"outputs.{role}: {unknown('output', name, runtime.outputs)}")
        together = self.spec is not None and self.spec.resize != "shortest" and len(self.image.shape) > _IMAGE_AXES
        self.together = together and self.image.shape[0] is None and not (options.inputs or {})

    def __call__(self, images: list[Image], /) -> Sequence[Found]:
        """Several at once where the file takes any number of one size, else one by one."""
        groups = [images] if self.together and images else [[image] for image in images]
        return [found for group in groups for found in self._detect(group)]

    def describe(self) -> dict[str, Any]:
        """How it runs, and what was set."""
        options = self.options
        size = None if self.spec is None or self.spec.size is None else "x".join(map(str, self.spec.size))
        told = {"preset": options.preset, "decoder": options.decoder, "input": size}
        reading = Reading.of(options, len(self.names))
        return self.facts | told | {"score_threshold": reading.score_threshold, "nms_iou": reading.nms_iou}

    def _detect(self, images: list[Image]) -> list[Found]:
        batch = None if self.spec is None else prepare(images, self.spec)
        given = {self.image.name: self._pixels(images, batch)}
        for port in self.runtime.inputs:
            if port.name != self.image.name:
                given[port.name] = _further(port, self.options, given[self.image.name], images[0])
        outputs = self.runtime.run(given)
        return decode(outputs, batch, images, Reading.of(self.options, len(self.names)))

    def _pixels(self, images: list[Image], batch: ImageBatch | None) -> NDArray[Any]:
        if batch is None:
            pixels = (images[0].astype(np.float32) / 255).transpose(2, 0, 1)[None]
        else:
            pixels = batch.pixels.numpy()
        shape = self.image.shape
        if len(shape) == _IMAGE_AXES:
            pixels = pixels[0]
        if shape[-1] == 3 and shape[-3] != 3:
            pixels = np.moveaxis(pixels, -3, -1)  # TensorFlow's order
        return np.ascontiguousarray(pixels, dtype=self.image.dtype)


def _names(runtime: Runtime, options: ForeignOptions) -> list[str | None]:
    if options.names is not None:
        return options.names
    written = runtime.metadata.get("names")  # Ultralytics writes a mapping as Python has it
    try:
        told = ast.literal_eval(written) if written else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        told = None
    if isinstance(told, dict) and sorted(told) == list(range(len(told))):
        return [str(told[label]) for label in range(len(told))]
    raise ForeignError(
        "it has no class names: give them with --set classes=coco, classes=a,b,c or classes=names.txt, or in a YAML "
        "file beside it"
    )


def _image_port(runtime: Runtime, options: ForeignOptions) -> Port:
    """The input that images go into."""
    further = set(options.inputs or {})
    left = [port for port in runtime.inputs if port.name not in further]
    if len(left) != 1 or len(left[0].shape) not in (_IMAGE_AXES, _IMAGE_AXES + 1):
        listed = ", ".join(f"{port.name} {list(port.shape)}" for port in runtime.inputs)
        raise ForeignError(
            f"it has the inputs {listed}; images go into one of them, and what the others get is said by "
            "inputs: {NAME: ones, image_hw or image_wh}"
        )
    return left[0]


def _input_spec(options: ForeignOptions, port: Port) -> InputSpec | None:
    values = options.input
    if options.as_is and values is None:
        return None
    if options.as_is:
        raise ForeignError("input and as_is are both given: images are prepared, or go in as they are")
    if values is None:
        raise ForeignError(
            f"it is not known how images are prepared: give a preset (--set preset={', '.join(presets())}), or in a "
            "YAML file beside it input: {size: [HEIGHT, WIDTH], resize: stretch or letterbox, channels: rgb or bgr, "
            "mean: [...], std: [...], pixel_range: 1 or 255}; as_is: true is for networks that take images as they are"
        )
    shape = port.shape[-3:]
    height, width = shape[:2] if shape[-1] == 3 and shape[0] != 3 else shape[1:]
    return fixed_size(dict(values), None if height is None or width is None else (height, width))


def fixed_size(values: dict[str, Any], size: tuple[int, int] | None) -> InputSpec:
    """How images are prepared for a network of one size, or of any.

    Args:
        values: of ``InputSpec``.
        size: (height, width) px that the file allows; None where any is.

    Raises:
        ForeignError: another size was written, or none and the file has none.
    """
    if size is not None and values.get("resize") == "shortest":  # as large as fits, in the corner, as its batches are
        for key in ("min_size", "max_size", "short_side", "pad_multiple"):
            values.pop(key, None)
        values |= {"resize": "letterbox", "place": "top_left"}
    written = values.get("size")
    if written is None and values.get("resize") != "shortest":
        if size is None:
            raise ForeignError("its input may have any size: say which with --set input.size=[HEIGHT,WIDTH]")
        values["size"] = size
    elif written is not None and size is not None and tuple(written) != size:
        raise ForeignError(f"input.size is {list(written)}, and the file takes {list(size)} alone")
    tuples: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return InputSpec(**tuples)


def _further(port: Port, options: ForeignOptions, pixels: NDArray[Any], image: Image) -> NDArray[Any]:
    """What another input gets."""
    height, width = image.shape[:2]
    what = (options.inputs or {})[port.name]
    if what == "ones":  # a mask of what is image; nothing is padded, for images go in one by one
        return np.ones((len(pixels), *pixels.shape[-2:]), port.dtype)
    numbers = [height, width] if what == "image_hw" else [width, height]
    return np.asarray([numbers] if len(port.shape) > 1 else numbers, port.dtype)
