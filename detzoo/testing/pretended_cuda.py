"""A CUDA device where there is none: which tensors would meet on two devices, and where the host would wait for it.

Tensors say that they lie on ``cuda:0``, and are computed on the CPU: unlike those of PyTorch's ``FakeTensorMode``, with
values, so that code which looks at them goes on, and each look is recorded.

    with PretendedCuda() as cuda:
        detector.to("cuda:0")
        detector.detect(batch.to("cuda:0"))
    print(cuda.waits)

It knows nothing of kernels: what only CUDA lacks (an operator, a dtype) is not found, and times mean nothing.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import BuiltinFunctionType, MethodDescriptorType, WrapperDescriptorType
from typing import Any, Final, NamedTuple, Self

import torch
from torch import Tensor
from torch.__future__ import (
    get_overwrite_module_params_on_conversion,
    set_overwrite_module_params_on_conversion,
)
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

CUDA: Final = torch.device("cuda:0")
CPU: Final = torch.device("cpu")
SHAPED_BY_VALUES: Final = frozenset({"torchvision::nms", "aten::masked_select", "aten::repeat_interleave"})
"""Operators whose output has as many rows as the values say, beside those that PyTorch tags so."""

TO_HOST: Final = "copy to the host"
INDEXING: Final = frozenset({"aten::index", "aten::index_put", "aten::index_put_"})


class Wait(NamedTuple):
    """A place where the host waits until the GPU has done all that was asked of it.

    Args:
        operator: such as ``aten::nonzero``.
        place: ``file.py:function`` of the innermost frame of detzoo or a plugin.
        line: of that file.
    """

    operator: str
    place: str
    line: int


class DevicesMeet(RuntimeError):
    """An operator got tensors of two devices."""


class PretendedTensor(Tensor):
    """On ``cuda:0`` by its own account; ``held`` has its values, on the CPU."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls: type[PretendedTensor], held: Tensor) -> PretendedTensor:
        """Wrap a CPU tensor."""
        with torch.inference_mode(False):  # a view of a parameter is none of inference mode's own tensors
            made: PretendedTensor = torch.Tensor._make_wrapper_subclass(
                cls,
                held.size(),
                strides=held.stride(),
                storage_offset=held.storage_offset(),
                dtype=held.dtype,
                layout=held.layout,
                device=CPU,  # to autograd's engine, which would ask CUDA's driver
                requires_grad=held.requires_grad,
            )
        made.held = held
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """``cuda:0``."""
        return CUDA

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        """True."""
        return True

    @property
    def is_cpu(self) -> bool:  # type: ignore[override]
        """False."""
        return False

    def __repr__(self) -> str:  # type: ignore[override]
        return f"PretendedTensor({tuple(self.shape)}, {self.dtype})"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        raise RuntimeError(f"{func}: a tensor of a pretended device is only of use within PretendedCuda()")


class _Calls(TorchFunctionMode):
    """Sees calls before PyTorch takes them apart, while they still say which device they mean."""

    def __init__(self) -> None:
        super().__init__()
        self.on_cuda = False
        """Whether PyTorch's own code is at work for a pretended tensor: what it makes lies beside that."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        own = bool(args) and isinstance(args[0], PretendedTensor)
        if own and func is Tensor.new_tensor:
            kwargs = {"dtype": args[0].dtype, "device": CUDA} | kwargs
            return torch.tensor(*args[1:], **kwargs)
        if own and func in {Tensor.cpu, Tensor.to}:
            asked = torch._C._nn._parse_to(*([CPU] if func is Tensor.cpu else args[1:]), **kwargs)
            if asked[0] is not None and asked[0].type == "cpu":
                return torch.ops.aten._to_copy(args[0], device=CPU, dtype=asked[1], non_blocking=asked[2])
        if own and func is Tensor.tolist:
            return torch.ops.aten._to_copy(args[0], device=CPU).tolist()
        if own and func is Tensor.numpy:
            raise TypeError("a CUDA tensor cannot become an array; copy it to the host first: Tensor.cpu()")
        if not isinstance(func, BuiltinFunctionType | MethodDescriptorType | WrapperDescriptorType):
            return func(*args, **kwargs)
        before = self.on_cuda
        self.on_cuda = before or any(isinstance(one, PretendedTensor) for one in tree_flatten((args, kwargs))[0])
        try:
            return func(*args, **kwargs)
        finally:
            self.on_cuda = before


class PretendedCuda:
    """Within it, ``cuda:0`` is a device.

    Args:
        roots: folders whose code is named as the place of a wait; None: that of detzoo.

    ``waits`` are in the order in which they came.
    """

    def __init__(self, roots: Iterable[Path] | None = None) -> None:
        own = Path(__file__).resolve().parents[1]
        self.waits: list[Wait] = []
        self._operators = _Operators([str(root) for root in (roots or [own])], self.waits)

    def __enter__(self) -> Self:
        stack = self._stack = ExitStack()
        stack.callback(torch._C._set_only_lift_cpu_tensors, torch._C._only_lift_cpu_tensors())
        # torch.tensor(..., device="cuda:0") copies one of the CPU, as FakeTensorMode has it
        torch._C._set_only_lift_cpu_tensors(True)
        # a parameter's data cannot become a tensor of another class: it is replaced
        stack.callback(set_overwrite_module_params_on_conversion, get_overwrite_module_params_on_conversion())
        set_overwrite_module_params_on_conversion(True)
        stack.enter_context(self._operators)
        stack.enter_context(self._operators.calls)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Computes every operator on the CPU, and looks at the devices of what it gets."""

    def __init__(self, roots: list[str], waits: list[Wait]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # in the place of FakeTensorMode: within it PyTorch does not look for a driver
        self._mode_key = torch._C._TorchDispatchModeKey.FAKE
        self.roots, self.waits, self.calls = roots, waits, _Calls()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"):
            with self:  # in inference mode operators come whole
                made = func.decompose(*args, **kwargs)
            if made is not NotImplemented:
                return made
        name = func._schema.name
        if name == "aten::copy_":
            return self.copied(args[0], args[1])
        if name == "aten::_to_copy":
            return self.moved(func, args[0], kwargs)
        flat, _ = tree_flatten((args, kwargs))
        pretended = any(isinstance(one, PretendedTensor) for one in flat)
        if pretended:
            self.check(func, flat)
            if waits(func, flat):
                self.note(name)
        on_cuda, target = pretended, kwargs.get("device")
        if isinstance(target, torch.device):  # something new is made
            on_cuda = target.type == "cuda" or self.calls.on_cuda or in_backward()
            kwargs["device"] = CPU
        made = func(*tree_map(held_of, args), **tree_map(held_of, kwargs))
        if not on_cuda:
            return made
        wrapped = tree_map(lambda one: PretendedTensor(one) if isinstance(one, Tensor) else one, made)
        if not pretended:
            return wrapped
        return return_and_correct_aliasing(func, args, kwargs, wrapped)  # type: ignore[no-untyped-call]

    def copied(self, target: Tensor, source: Tensor) -> Tensor:
        """``target.copy_(source)``, from any device to any."""
        if isinstance(source, PretendedTensor) and not isinstance(target, PretendedTensor):
            self.note(TO_HOST)
        held_of(target).copy_(held_of(source))
        return target

    def moved(self, func: Any, source: Tensor, kwargs: dict[str, Any]) -> Tensor:
        """``source.to(...)``, from any device to any."""
        from_cuda, device = isinstance(source, PretendedTensor), kwargs.get("device")
        to_cuda = from_cuda if device is None or in_backward() else torch.device(device).type == "cuda"
        if from_cuda and not to_cuda and not kwargs.get("non_blocking"):
            self.note(TO_HOST)
        if device is not None:
            kwargs["device"] = CPU
        made: Tensor = func(held_of(source), **kwargs)
        return PretendedTensor(made) if to_cuda else made

    def check(self, func: Any, flat: list[Any]) -> None:
        """Raise where a CPU tensor of one dimension or more meets one of the device."""
        if func._schema.name in INDEXING:  # may be told by the host which rows
            flat = flat[:1]
        host = [one for one in flat if isinstance(one, Tensor) and not isinstance(one, PretendedTensor)]
        if any(one.dim() > 0 for one in host):
            place, line = self.place()
            shapes = [tuple(one.shape) for one in host if one.dim() > 0]
            raise DevicesMeet(f"{func} got tensors of the CPU {shapes} and of CUDA, at {place} (line {line})")

    def note(self, operator: str) -> None:
        """Record that the host waits here."""
        self.waits.append(Wait(operator, *self.place()))

    def place(self) -> tuple[str, int]:
        """``file.py:function`` and line of the innermost frame that belongs to ``roots``, this file's apart."""
        for frame in reversed(traceback.extract_stack()):
            if frame.filename != __file__ and any(frame.filename.startswith(root) for root in self.roots):
                return f"{Path(frame.filename).name}:{frame.name}", frame.lineno or 0
        return "outside", 0


def held_of(value: Any) -> Any:
    """The CPU tensor behind a pretended one; everything else as it is."""
    return value.held if isinstance(value, PretendedTensor) else value


def in_backward() -> bool:
    """Whether a formula of a gradient asks: it makes tensors like those it got, which autograd takes for the CPU's."""
    return torch._C._current_autograd_node() is not None


def waits(func: Any, flat: list[Any]) -> bool:
    """Whether the host must know values before it can go on."""
    name, tags = func._schema.name, func.tags
    if name in INDEXING:  # by a mask: how many places are there?
        return any(isinstance(one, Tensor) and one.dtype in {torch.bool, torch.uint8} for one in flat[1:])
    return name in SHAPED_BY_VALUES or torch.Tag.dynamic_output_shape in tags or torch.Tag.data_dependent_output in tags
