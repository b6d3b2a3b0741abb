"""A layout brought to life: shapes declared before a tensor flows, maps kept for the layers that read them later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from detzoo.errors import RecipeError
from detzoo.types import FeatureMaps, FeatureSpec, FeatureSpecs
from detzoo_yolo.layers import make_layer
from detzoo_yolo.layout import LayerSpec


class Step(NamedTuple):
    """One layer of the forward pass.

    Args:
        reads: the layers whose maps it takes, by number; inputs by name.
        name: under which its own map leaves the network.
        done: layers whose maps no later one reads.
    """

    reads: tuple[int | str, ...]
    name: str | None
    done: tuple[int | str, ...]


class Network(nn.Module):
    """Runs a layout.

    Args:
        layers: parsed.
        inputs: the maps it gets, finest first; a layer that reads no other reads the last one.
        norm_eps: of batch norms.
        norm_momentum: share of the new batch in their running statistics.

    Attributes:
        out: what leaves it, finest first.
        specs: the layers, in order, as ``layers`` (a ModuleList) has them.

    Raises:
        RecipeError: shapes that do not fit, naming the layer.
    """

    __call__: Callable[..., FeatureMaps]

    def __init__(
        self, layers: Sequence[LayerSpec], inputs: FeatureSpecs, *, norm_eps: float, norm_momentum: float
    ) -> None:
        super().__init__()
        self.specs = tuple(layers)
        self.start = list(inputs)[-1]
        made: list[nn.Module] = []
        known: dict[int | str, FeatureSpec] = {}
        known.update(inputs.items())
        reads: list[tuple[int | str, ...]] = []
        names: dict[str, int] = {}
        for number, spec in enumerate(layers):
            try:
                reads.append(_reads(spec, number, names, inputs, self.start))
                given = [known[one] for one in reads[-1]]  # specs: every shape is known before a weight is made
                known[number] = _shape(spec, given)
                if spec.name in {*names, *inputs}:
                    raise ValueError(f'there is a map "{spec.name}" already')
            except ValueError as error:
                raise RecipeError(f'layers: layer {number}, "{spec.text}": {error}') from None
            norm = {"eps": norm_eps, "momentum": norm_momentum}
            made.append(make_layer(spec, given[0].channels, given[0].size, known[number].size, norm))
            if spec.name is not None:
                names[spec.name] = number
        if not names:
            raise RecipeError("layers: no map leaves the network; end the last layer with `-> s32`, say")
        self.layers = nn.ModuleList(made)
        last = {one: number for number, read in enumerate(reads) for one in (*read, number)}
        self.steps = tuple(
            Step(read, spec.name, tuple(one for one in last if last[one] == number))
            for number, (read, spec) in enumerate(zip(reads, layers, strict=True))
        )
        ordered = sorted(names, key=lambda name: (known[names[name]].stride, names[name]))
        self.out: FeatureSpecs = {name: known[names[name]] for name in ordered}

    def forward(self, maps: FeatureMaps) -> FeatureMaps:
        """Maps by name, finest first."""
        kept: dict[int | str, Tensor] = {}
        kept.update(maps.items())
        found: FeatureMaps = {}
        for number, (layer, step) in enumerate(zip(self.layers, self.steps, strict=True)):
            kept[number] = layer(*[kept[one] for one in step.reads])
            if step.name is not None:
                found[step.name] = kept[number]
            for one in step.done:  # a deep network's maps do not all fit in memory
                del kept[one]
        return {name: found[name] for name in self.out}


def _reads(
    spec: LayerSpec, number: int, names: dict[str, int], inputs: FeatureSpecs, start: str
) -> tuple[int | str, ...]:
    """Layers by number and inputs by name."""
    found: list[int | str] = []
    for ref in spec.refs or (-1,):
        if ref == -1 and number == 0:
            found.append(start)
        elif isinstance(ref, int):
            if number + ref < 0:
                raise ValueError(f"{ref} points before the first layer")
            found.append(number + ref)
        elif ref in names:
            found.append(names[ref])
        elif ref in inputs:
            found.append(ref)
        else:
            raise ValueError(f'there is no map "{ref}" before it; there are: {", ".join((*inputs, *names))}')
    return tuple(found)


def _shape(spec: LayerSpec, given: list[FeatureSpec]) -> FeatureSpec:
    """Channels, stride and size of what a layer gives."""
    channels, stride, size = given[0].channels, given[0].stride, given[0].size
    if spec.kind in ("route", "shortcut"):
        return _joined(spec, given)
    if spec.kind in ("fc", "local") and size is None:
        raise ValueError("its weights depend on the size of the image, which is not fixed; set input.size")
    if spec.kind in ("fc", "avg"):
        wide = max(size) if size else 1  # one cell sees the whole map
        return FeatureSpec(spec.filters or channels, stride * wide, (1, 1))
    if spec.kind == "reorg" and (
        channels % spec.stride**2 or (size and (size[0] % spec.stride or size[1] % spec.stride))
    ):
        raise ValueError(f"{channels} channels or the map's sides are no multiple of what it regroups")
    if spec.kind == "conv" and channels % spec.groups:
        raise ValueError(f"the {channels} channels it gets cannot be cut into {spec.groups} groups")
    out = {
        "conv": spec.filters,
        "local": spec.filters,
        "reorg": channels * spec.stride**2,
    }.get(spec.kind, channels)
    cells = None if size is None else (_side(spec, size[0]), _side(spec, size[1]))
    if cells is not None and min(cells) < 1:
        raise ValueError("nothing is left of the map; choose a larger input.size")
    return FeatureSpec(out, stride / spec.stride if spec.kind == "up" else stride * spec.stride, cells)


def _side(spec: LayerSpec, side: int) -> int:
    if spec.kind in ("conv", "local"):
        return (side + 2 * spec.pad - spec.size) // spec.stride + 1
    if spec.kind == "up":
        return side * spec.stride
    return (side - 1) // spec.stride + 1  # darknet's pooling rounds up


def _joined(spec: LayerSpec, given: list[FeatureSpec]) -> FeatureSpec:
    shapes = {(one.stride, one.size) for one in given}
    if len(shapes) > 1 or (spec.kind == "shortcut" and given[0].channels != given[1].channels):
        listed = " and ".join(_described(one) for one in given)
        odd = len({one.stride for one in given}) == 1 and len(shapes) > 1  # halved and doubled, a side became another
        hint = "; the sides of input.size must be multiples of the coarsest stride, as 32" if odd else ""
        raise ValueError(f"the maps it joins differ: {listed}{hint}")
    channels = given[0].channels if spec.kind == "shortcut" else sum(one.channels for one in given)
    return FeatureSpec(channels, given[0].stride, given[0].size)


def _described(spec: FeatureSpec) -> str:
    size = f"{spec.size[0]}x{spec.size[1]} cells, " if spec.size else ""
    return f"{spec.channels} channels ({size}stride {spec.stride:g})"
