"""``file.py:callable`` and ``package.module:callable``: anybody's Python."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from detzoo.foreign.errors import ForeignError
from detzoo.foreign.options import ForeignOptions
from detzoo.foreign.protocol import Describing, Found, Image, Named
from detzoo.foreign.target import ForeignTarget
from detzoo.runtime.near_names import nearest


class CallableProgram:
    """A Python object behind the protocol.

    Args:
        inner: what is called with a list of images.
        names: of its classes by label.
    """

    def __init__(self, inner: Callable[[list[Image]], Sequence[Found]], names: Any) -> None:
        self.inner, self.names = inner, names

    def __call__(self, images: list[Image], /) -> Sequence[Found]:
        """What it finds."""
        return self.inner(images)

    def describe(self) -> dict[str, Any]:
        """What it says of itself, if it can."""
        return {"kind": "callable"} | (dict(self.inner.describe()) if isinstance(self.inner, Describing) else {})


def load_callable(target: ForeignTarget, options: ForeignOptions) -> CallableProgram:
    """Import and, where it is a class or a function that makes the detector, make it.

    Raises:
        ForeignError: there is no such object, it is none to be called, or nobody tells its class names.
    """
    inner = _named(_module(target), target)
    arguments = options.arguments or {}
    if isinstance(inner, type) or (arguments and callable(inner)) or _makes_detector(inner):
        inner = inner(**arguments)
    if not callable(inner):
        raise ForeignError(f"{target.name} is {type(inner).__name__}, which cannot be called with a list of images")
    names: Any = options.names
    if names is None:
        if not isinstance(inner, Named):
            raise ForeignError(
                f"{target.name} has no class names: give it an attribute `names`, a list by label, or --set "
                "classes=a,b,c"
            )
        names = list(inner.names) if not isinstance(inner.names, dict) else inner.names
    return CallableProgram(inner, names)


def _makes_detector(inner: Any) -> bool:
    """Whether a function takes nothing, so that it cannot be what is given images."""
    if not inspect.isfunction(inner):
        return False
    return not inspect.signature(inner).parameters


def _module(target: ForeignTarget) -> ModuleType:
    if target.kind == "module":
        sys.path.insert(0, os.getcwd())
        try:
            return importlib.import_module(target.place)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{target.place}.".startswith(f"{error.name}."):
                raise  # something that it imports
            raise ForeignError(
                f"there is no module {error.name}; it is looked for in this environment and in the current folder"
            ) from None
    path = Path(target.place).resolve()
    sys.path.insert(0, str(path.parent))  # its own imports, as when it is run
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ForeignError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _named(module: ModuleType, target: ForeignTarget) -> Any:
    found: Any = module
    for part in target.name.split("."):
        known = [name for name in dir(found) if not name.startswith("_")]
        if part not in dir(found):
            hint = nearest(part, known)
            raise ForeignError(f"it has no {part}{f'; {hint}' if hint else ''}")
        found = getattr(found, part)
    return found
