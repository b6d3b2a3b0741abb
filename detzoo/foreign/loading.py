"""A foreign detector by its kind, loaded in its own process; each kind's library is imported when it is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from detzoo.foreign.errors import ForeignError
from detzoo.foreign.options import ForeignOptions
from detzoo.foreign.protocol import ForeignProgram
from detzoo.foreign.target import ForeignTarget


def load_program(
    target: Mapping[str, Any], values: Mapping[str, Any], device: str, threads: int
) -> tuple[ForeignProgram, list[str | None]]:
    """The program of a foreign detector, and the names of its classes.

    Args:
        target: fields of ``ForeignTarget``.
        values: fields of ``ForeignOptions``.
        device: to run on, where it can choose.
        threads: of the processor.

    Raises:
        ForeignError: it cannot be loaded, or its names are none.
    """
    found, options = ForeignTarget(**target), ForeignOptions(**values)
    program = _program(found, options, device, threads)
    return program, class_names(program.names)


def _program(target: ForeignTarget, options: ForeignOptions, device: str, threads: int) -> ForeignProgram:
    if target.kind in ("file", "module"):
        from detzoo.foreign.programs.callables import load_callable

        return load_callable(target, options)
    if target.kind == "hf":
        from detzoo.foreign.programs.transformers_model import TransformersModel

        return TransformersModel(target.place, options, device, threads)
    if target.kind == "torchvision":
        from detzoo.foreign.programs.torchvision_model import TorchvisionModel

        return TorchvisionModel(target.place, options, device, threads)
    if target.kind == "rfdetr":
        from detzoo.foreign.programs.rfdetr_model import RfdetrModel

        return RfdetrModel(target.place, options)
    from detzoo.foreign.programs.network_files import load_network_file

    return load_network_file(target, options, device, threads)


def class_names(names: Any) -> list[str | None]:
    """Names by label, as whoever wrote the program keeps them.

    Args:
        names: a sequence, or a mapping of labels 0..K-1 to names.

    Raises:
        ForeignError: they are none, or one stands twice.
    """
    if isinstance(names, Mapping):
        if sorted(names) != list(range(len(names))):
            raise ForeignError("names is a mapping whose keys are not 0..K-1; give a list of class names by label")
        names = [names[label] for label in range(len(names))]
    if not isinstance(names, Sequence) or isinstance(names, str | bytes):
        raise ForeignError(f"names is {type(names).__name__}; expected a list of class names by label")
    strange = [name for name in names if name is not None and not isinstance(name, str)]
    if strange:
        raise ForeignError(f"names holds {strange[0]!r}; expected text, or None for an output that means nothing")
    twice = sorted({name for name in names if name is not None and names.count(name) > 1})
    if twice:
        raise ForeignError(f"names holds {', '.join(map(repr, twice))} more than once; each class has its own name")
    if not any(name is not None for name in names):
        raise ForeignError("names holds no class name; give them with --set classes=a,b,c")
    return list(names)
