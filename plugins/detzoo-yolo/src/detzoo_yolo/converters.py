"""Darknet's numbers in detzoo's names: every one accounted for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from torch import Tensor, nn

from detzoo.errors import WeightsError
from detzoo_yolo.backbone import Darknet
from detzoo_yolo.grid_head import YoloGrid
from detzoo_yolo.head import YoloAnchorHead
from detzoo_yolo.layers import Local
from detzoo_yolo.neck import DarknetNeck, Passthrough
from detzoo_yolo.network import Network
from detzoo_yolo.weights_file import TRANSPOSED

StateDict = dict[str, Tensor]
T = TypeVar("T", bound=nn.Module)


def from_darknet(state: StateDict, detector: nn.Module) -> StateDict:
    """A ``.weights`` file of the detector's cfg.

    Within a layer darknet writes biases (or, with batch norm, its shift, scale, mean and variance), then weights; of a
    connected layer the weights come before scale, mean and variance.

    Args:
        state: what ``read_weights`` gives.
        detector: whose layers are all darknet's, in the order of the file.

    Returns:
        the same numbers under the names of ``detector``.

    Raises:
        WeightsError: too few or too many numbers.
    """
    if "values" not in state:
        raise WeightsError("source darknet needs a .weights file, found a state dict")
    version = state["version"]
    source = _Numbers(state["values"], transposed=bool((version[:2] > TRANSPOSED).any()))
    found: StateDict = dict(detector.state_dict())  # counters of norms and constants are the detector's own
    names = {id(tensor): name for name, tensor in _tensors(detector)}  # layers come as modules, without their names
    try:
        for layer in ordered(detector):
            for tensor, value in source.of(layer):
                found[names[id(tensor)]] = value.reshape(tensor.shape).clone()
    except IndexError:
        needed = sum(_count(layer) for layer in ordered(detector))
        raise WeightsError(_mismatch(source, needed, "too few; the file is cut off, or")) from None
    if source.place != len(source.values):  # numbers left over: a cfg of another network
        raise WeightsError(_mismatch(source, source.place, "too many;"))
    return found


def ordered(detector: nn.Module) -> Iterator[nn.Module]:
    """Layers with numbers, in darknet's order: a head's predictor stands right behind the layer whose map it reads."""
    head = detector.get_submodule("head")
    parts = [detector.get_submodule(name) for name in ("backbone", "neck")]
    networks: list[Network] = [part.network for part in parts if isinstance(part, Darknet | DarknetNeck | Passthrough)]
    foreign = len(networks) < sum(next(part.parameters(), None) is not None for part in parts)
    if foreign or not networks or not isinstance(head, YoloAnchorHead | YoloGrid):
        raise WeightsError(
            "darknet's weights fit detectors of darknet's layers only: backbone type darknet, head yolo_*"
        )
    waiting = dict(head.predictors) if isinstance(head, YoloAnchorHead) else {head.name: head.predictor}
    for network in networks:
        last = network is networks[-1]
        for layer, spec in zip(network.layers, network.specs, strict=True):
            if next(layer.parameters(), None) is not None:
                yield layer
            name = (spec.name or "").removesuffix("_joined")
            if last and name in waiting:
                yield waiting.pop(name)


class _Numbers:
    """Reads the numbers of a file one after another."""

    def __init__(self, values: Tensor, *, transposed: bool) -> None:
        self.values, self.transposed, self.place = values, transposed, 0

    def take(self, like: Tensor) -> Tensor:
        """As many as ``like`` has.

        Raises:
            IndexError: the file has no more.
        """
        end = self.place + like.numel()
        if end > len(self.values):
            raise IndexError
        taken, self.place = self.values[self.place : end], end
        return taken

    def of(self, layer: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
        """Tensors of a layer, and their numbers."""
        linear = _part(layer, nn.Linear)
        local = _part(layer, Local)
        conv = _part(layer, nn.Conv2d)
        norm = _part(layer, nn.BatchNorm2d) or _part(layer, nn.BatchNorm1d)
        weighted = conv or local or linear
        assert weighted is not None
        bias = norm.bias if norm is not None else weighted.bias
        assert isinstance(bias, Tensor)
        yield bias, self.take(bias)  # parser.c load_convolutional_weights: biases come first
        if linear is not None:
            yield linear.weight, self._matrix(linear.weight)
        if norm is not None:
            for tensor in (norm.weight, norm.running_mean, norm.running_var):
                assert tensor is not None
                yield tensor, self.take(tensor)
        if linear is None:
            assert isinstance(weighted.weight, Tensor)
            yield weighted.weight, self.take(weighted.weight)

    def _matrix(self, weight: Tensor) -> Tensor:
        """Of a connected layer, outputs x inputs."""
        taken = self.take(weight)
        # parser.c transpose_matrix
        return taken.view(weight.shape[1], weight.shape[0]).t() if self.transposed else taken


def _part(layer: nn.Module, kind: type[T]) -> T | None:
    return next((module for module in layer.modules() if isinstance(module, kind)), None)


def _tensors(detector: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from detector.named_parameters()
    yield from detector.named_buffers()


def _count(layer: nn.Module) -> int:
    counted = [tensor for name, tensor in layer.state_dict().items() if not name.endswith("num_batches_tracked")]
    return sum(tensor.numel() for tensor in counted)


def _mismatch(source: _Numbers, needed: int, what: str) -> str:
    return (
        f"the file holds {len(source.values):,} numbers, this network has {needed:,}: {what} it belongs to another cfg"
    )
