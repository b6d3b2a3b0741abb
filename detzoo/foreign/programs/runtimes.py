"""What runs network files: arrays by name in, arrays by name out."""

from __future__ import annotations

import importlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from detzoo.foreign.errors import ForeignError


@dataclass(frozen=True)
class Port:
    """An input of a network.

    Args:
        name: of it.
        shape: sizes; None for free ones.
        dtype: NumPy's name of its numbers.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str


class Runtime(Protocol):
    """A network file that is loaded."""

    @property
    def inputs(self) -> tuple[Port, ...]:
        """What goes in."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what comes out; empty where the file names nothing."""

    @property
    def metadata(self) -> dict[str, str]:
        """Texts beside the network."""

    @property
    def facts(self) -> dict[str, Any]:
        """For protocols."""

    def run(self, given: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs by name."""


class OnnxRuntime:
    """An ONNX file in onnxruntime.

    Raises:
        ForeignError: onnxruntime is not installed, or cannot read it.
    """

    def __init__(self, path: Path, device: str, threads: int) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise ForeignError("ONNX files need onnxruntime: pip install 'detzoo[onnx]'") from None
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors: it warns about its own optimisations
        options.intra_op_num_threads = threads
        wanted = "CUDAExecutionProvider" if device.startswith("cuda") else "CPUExecutionProvider"
        there = wanted in onnxruntime.get_available_providers()
        providers = [wanted, "CPUExecutionProvider"] if there else ["CPUExecutionProvider"]
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=list(dict.fromkeys(providers)))
        except Exception as error:  # classes of its own that it does not export
            raise ForeignError(f"onnxruntime cannot read it: {_first(error)}") from None
        self.inputs = tuple(
            Port(one.name, tuple(size if isinstance(size, int) else None for size in one.shape), _TYPES[one.type])
            for one in self.session.get_inputs()
        )
        self.outputs = tuple(one.name for one in self.session.get_outputs())
        self.metadata = dict(self.session.get_modelmeta().custom_metadata_map)
        used = self.session.get_providers()[0]
        self.facts = {
            "runtime": f"onnxruntime {onnxruntime.__version__}",
            "provider": used,
            "device": "cuda" if used == "CUDAExecutionProvider" else "cpu",
        }

    def run(self, given: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs by name."""
        found = self.session.run(list(self.outputs), dict(given))
        return dict(zip(self.outputs, found, strict=True))


_TYPES = {
    "tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64", "tensor(uint8)": "uint8",
    "tensor(int64)": "int64", "tensor(int32)": "int32", "tensor(bool)": "bool",
}  # fmt: skip


class OpenVino:
    """An OpenVINO IR (``model.xml`` with ``model.bin`` beside it) or an ONNX file in OpenVINO.

    Raises:
        ForeignError: openvino is not installed, or cannot read it.
    """

    def __init__(self, path: Path, threads: int) -> None:
        try:
            openvino: Any = importlib.import_module("openvino")
        except ImportError:
            raise ForeignError("OpenVINO's files need openvino: pip install 'detzoo[openvino]'") from None
        try:
            # bf16 is its default where the processor has it, and not what the file says
            wanted = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
            self.model = openvino.Core().compile_model(str(path), "CPU", wanted)
        except Exception as error:  # classes of its own that it does not export
            raise ForeignError(f"openvino cannot read it: {_first(error)}") from None
        self.inputs = tuple(
            Port(
                one.get_any_name(),
                tuple(None if size.is_dynamic else size.get_length() for size in one.get_partial_shape()),
                np.dtype(one.get_element_type().to_dtype()).name,
            )
            for one in self.model.inputs
        )
        self.outputs = tuple(
            one.get_any_name() if one.get_names() else f"output{at}" for at, one in enumerate(self.model.outputs)
        )
        self.metadata = onnx_metadata(path) if path.suffix.lower() == ".onnx" else {}
        self.facts = {"runtime": f"openvino {openvino.__version__.split('-')[0]}", "device": "cpu"}

    def run(self, given: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs by name."""
        found = self.model(dict(given))
        return {name: np.asarray(found[at]) for at, name in enumerate(self.outputs)}


def onnx_metadata(path: Path) -> dict[str, str]:
    """Texts beside the network of an ONNX file.

    Raises:
        ForeignError: onnx is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise ForeignError("ONNX files in OpenVINO need onnx too: pip install 'detzoo[onnx]'") from None
    return {one.key: one.value for one in onnx.load(path, load_external_data=False).metadata_props}


class TorchProgram:
    """A program of ``torch.export`` (``.pt2``), or of TorchScript: one input, outputs by position or name.

    Raises:
        ForeignError: PyTorch cannot read it.
    """

    def __init__(self, path: Path, device: str, threads: int, *, script: bool) -> None:
        torch.set_num_threads(threads)
        self.device = torch.device(device)
        told = {name: "" for name in METADATA} if not script else {}
        try:
            if script:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # that TorchScript is deprecated
                    self.module: Any = torch.jit.load(str(path), map_location=self.device)  # type: ignore[no-untyped-call]
                self.module.eval()
                self.inputs: tuple[Port, ...] = (Port("pixels", (None, None, None, None), "float32"),)
            else:
                import detzoo.export  # registers the operations that detzoo's own programs call

                del detzoo
                program = torch.export.load(str(path), extra_files=told)
                self.inputs = _ports(program, list(json.loads(_text(told["detzoo.meaning"] or "{}"))))
                self.module = program.module().to(self.device)
        except Exception as error:  # whatever it stumbles upon
            raise ForeignError(f"PyTorch cannot read it: {_first(error)}") from None
        self.metadata = {name: _text(value) for name, value in told.items() if value}
        meaning = json.loads(self.metadata.get("detzoo.meaning", "{}"))
        self.outputs = tuple(name for name in meaning if name not in {port.name for port in self.inputs})
        self.facts = {"runtime": f"torch {torch.__version__}", "device": self.device.type}

    def run(self, given: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs by name; those of a program that names none are called ``output0``, ``output1``, ..."""
        with torch.inference_mode():
            found = self.module(*(torch.from_numpy(given[port.name]).to(self.device) for port in self.inputs))
        if isinstance(found, dict):
            return {str(name): value.cpu().numpy() for name, value in found.items()}
        values = [found] if isinstance(found, torch.Tensor) else list(found)
        names = self.outputs or [f"output{at}" for at in range(len(values))]
        return {name: value.cpu().numpy() for name, value in zip(names, values, strict=True)}


METADATA = (
    "detzoo.version", "detzoo.recipe", "detzoo.classes", "detzoo.input", "detzoo.dynamic", "detzoo.size_step",
    "detzoo.meaning", "detzoo.scoring", "detzoo.quality", "detzoo.score_threshold", "detzoo.postprocess",
    "detzoo.levels",
)  # fmt: skip
"""What ``detzoo export`` writes beside a network (see ``detzoo.export.describing``)."""


def _ports(program: torch.export.ExportedProgram, meanings: list[str]) -> tuple[Port, ...]:
    """Inputs of an exported program; those of detzoo's own go by the first of the names that they explain."""
    found = []
    names = [spec.arg.name for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]
    shapes = {node.name: node.meta["val"].shape for node in program.graph.nodes if node.op == "placeholder"}
    for at, name in enumerate(names):
        shape = tuple(size if isinstance(size, int) else None for size in shapes[name])
        found.append(Port(meanings[at] if meanings else name, shape, "float32"))
    return tuple(found)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _first(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
