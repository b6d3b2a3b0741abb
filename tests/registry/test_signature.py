"""The signature is the schema: every allowed annotation, and each refusal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from pydantic import Field
from torch import Tensor, nn

from detzoo.errors import PluginError
from detzoo.interfaces import BoxLoss, Head, Sampler, Transform
from detzoo.schema.signature import Scope, schema_of
from detzoo.types import FeatureSpecs


@dataclass(frozen=True)
class Inner:
    """A group of keys."""

    head: Head
    rates: tuple[float, ...] = (0.1, 0.2)
    names: dict[str, int] = field(default_factory=dict)


class Every:
    """Every kind of key."""

    def __init__(
        self,
        features: FeatureSpecs,
        num_classes: int,
        input_size: tuple[int, int] | None,
        /,
        *,
        flag: bool,
        count: Annotated[int, Field(ge=1, le=9)] = 3,
        rate: Annotated[float, Field(gt=0, lt=1)] | None = None,
        name: str = "x",
        mode: Literal["a", "b", 3] = "a",
        sizes: list[int] = [1, 2],  # noqa: B006 - a default as some plugin would write it
        pair: tuple[int, str] = (1, "a"),
        many: Annotated[tuple[float, ...], Field(min_length=1)] = (0.5,),
        table: dict[str, list[float]] | None = None,
        either: str | list[str] = "x",
        group: Inner | None = None,
        head: Annotated[Head, Scope(num_classes=1)],
        box: BoxLoss | None = None,
        transforms: list[Transform],
        nothing: None = None,
    ) -> None: ...


def test_every_allowed_annotation() -> None:
    number = {"is": "float"}
    group = {
        "is": "settings",
        "fields": {
            "head": {"type": {"is": "component", "kind": "head"}},
            "rates": {"type": {"is": "tuple", "of": number}, "default": [0.1, 0.2]},
            "names": {"type": {"is": "dict", "of": {"is": "int"}}, "default": {}},
        },
    }
    null = {"is": "null"}
    assert schema_of(Every) == {
        "supplies": ["features", "num_classes", "input_size"],
        "fields": {
            "flag": {"type": {"is": "bool"}},
            "count": {"type": {"is": "int", "ge": 1, "le": 9}, "default": 3},
            "rate": {"type": {"is": "union", "of": [{"is": "float", "gt": 0, "lt": 1}, null]}, "default": None},
            "name": {"type": {"is": "str"}, "default": "x"},
            "mode": {"type": {"is": "literal", "values": ["a", "b", 3]}, "default": "a"},
            "sizes": {"type": {"is": "list", "of": {"is": "int"}}, "default": [1, 2]},
            "pair": {"type": {"is": "tuple", "items": [{"is": "int"}, {"is": "str"}]}, "default": [1, "a"]},
            "many": {"type": {"is": "tuple", "of": number, "min_length": 1}, "default": [0.5]},
            "table": {
                "type": {"is": "union", "of": [{"is": "dict", "of": {"is": "list", "of": number}}, null]},
                "default": None,
            },
            "either": {
                "type": {"is": "union", "of": [{"is": "str"}, {"is": "list", "of": {"is": "str"}}]},
                "default": "x",
            },
            "group": {"type": {"is": "union", "of": [group, null]}, "default": None},
            "head": {"type": {"is": "component", "kind": "head", "scope": {"num_classes": 1}}},
            "box": {"type": {"is": "union", "of": [{"is": "component", "kind": "box_loss"}, null]}, "default": None},
            "transforms": {"type": {"is": "list", "of": {"is": "component", "kind": "transform"}}},
            "nothing": {"type": null, "default": None},
        },
    }


class NoConstructor(Sampler):
    """Takes torch's own."""

    def forward(self, assignment: Any) -> Any:
        return assignment


def test_a_class_without_a_constructor_has_no_keys() -> None:
    assert schema_of(NoConstructor) == {"supplies": [], "fields": {}}


class Positional:
    def __init__(self, size: int) -> None: ...


class UnknownSupply:
    def __init__(self, channels: int, /) -> None: ...


class Unannotated:
    def __init__(self, *, size=3) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001


class Open:
    def __init__(self, **options: int) -> None: ...


class Variadic:
    def __init__(self, *sizes: int) -> None: ...


class TakesTensor:
    def __init__(self, *, weight: Tensor) -> None: ...


class TakesCallable:
    def __init__(self, *, norm: Callable[[int], nn.Module]) -> None: ...


class TakesAnything:
    def __init__(self, *, value: Any = None) -> None: ...


class TakesArray:
    def __init__(self, *, value: list[np.ndarray]) -> None: ...


class TakesModule:
    def __init__(self, *, inner: nn.Linear) -> None: ...


class IntKeys:
    def __init__(self, *, table: dict[int, str]) -> None: ...


class BareList:
    def __init__(self, *, sizes: list) -> None: ...  # type: ignore[type-arg]


class HiddenType:
    def __init__(self, *, value: NotImported) -> None: ...  # type: ignore[name-defined]  # noqa: F821


class DefaultComponent:
    def __init__(self, *, sampler: Sampler = NoConstructor()) -> None: ...  # noqa: B008 - what is refused


ALLOWED = (
    "cannot be configured from YAML; allowed: bool, int, float, str, Literal, list[...], tuple[...], dict[str, ...], "
    "None, frozen dataclasses, and detzoo's interfaces"
)


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (Positional, ':Positional: parameter "size" must be keyword-only (after `*`): it is a key of the recipe'),
        (Variadic, ':Variadic: parameter "sizes" must be keyword-only (after `*`): it is a key of the recipe'),
        (Open, ":Open: **options takes any key; write each key out, so that a misspelt one is an error"),
        (
            UnknownSupply,
            ':UnknownSupply: positional-only parameter "channels" cannot be supplied; '
            "known: features, num_classes, input_size",
        ),
        (Unannotated, ':Unannotated: parameter "size" has no type annotation'),
        (TakesTensor, f":TakesTensor(weight): the annotation torch.Tensor {ALLOWED}"),
        (
            TakesCallable,
            ":TakesCallable(norm): the annotation "
            f"collections.abc.Callable[[int], torch.nn.modules.module.Module] {ALLOWED}",
        ),
        (TakesAnything, f":TakesAnything(value): the annotation typing.Any {ALLOWED}"),
        (TakesArray, f":TakesArray(value): the annotation numpy.ndarray {ALLOWED}"),
        (TakesModule, f":TakesModule(inner): the annotation torch.nn.modules.linear.Linear {ALLOWED}"),
        (IntKeys, f":IntKeys(table): the annotation dict[int, str] {ALLOWED}"),
        (BareList, f":BareList(sizes): the annotation list {ALLOWED}"),
        (
            HiddenType,
            ":HiddenType: an annotation cannot be resolved at run time (name 'NotImported' is not defined); "
            "import it outside TYPE_CHECKING",
        ),
        (
            DefaultComponent,
            ":DefaultComponent(sampler): a component has no default, so that the recipe names every class; "
            "write `sampler: Sampler` or `sampler: Sampler | None = None`",
        ),
    ],
)  # fmt: skip
def test_refusals(cls: type[Any], message: str) -> None:
    with pytest.raises(PluginError) as caught:
        schema_of(cls)

    assert str(caught.value) == __name__ + message
