"""The signature is the schema: every allowed annotation, and each refusal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from pydantic import Field as Limit
from torch import Tensor, nn

from detzoo.errors import PluginError
from detzoo.interfaces import BoxLoss, DenseHead, Sampler, Transform
from detzoo.schema import nodes
from detzoo.schema.nodes import Field, Schema, Scope
from detzoo.schema.signature import schema_of
from detzoo.types import FeatureSpecs


@dataclass(frozen=True)
class Inner:
    """A group of keys."""

    head: DenseHead
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
        count: Annotated[int, Limit(ge=1, le=9)] = 3,
        step: Annotated[int, Limit(multiple_of=4)] = 8,
        rate: Annotated[float, Limit(gt=0, lt=1)] | None = None,
        name: str = "x",
        mode: Literal["a", "b", 3] = "a",
        sizes: list[int] = [1, 2],  # noqa: B006 - a default as some plugin would write it
        pair: tuple[int, str] = (1, "a"),
        many: Annotated[tuple[float, ...], Limit(min_length=1)] = (0.5,),
        table: dict[str, list[float]] | None = None,
        either: str | list[str] = "x",
        group: Inner | None = None,
        head: Annotated[DenseHead, Scope(num_classes=1)],
        box: BoxLoss | None = None,
        transforms: list[Transform],
        nothing: None = None,
    ) -> None: ...


def test_every_allowed_annotation() -> None:
    group = nodes.Settings(
        {
            "head": Field(nodes.ComponentOf("head")),
            "rates": Field(nodes.TupleOf(nodes.Number()), default=[0.1, 0.2]),
            "names": Field(nodes.DictOf(nodes.Integer()), default={}),
        }
    )
    null, text = nodes.Null(), nodes.Text()
    numbers = nodes.DictOf(nodes.ListOf(nodes.Number()))
    found = schema_of(Every)
    assert found.supplies == ("features", "num_classes", "input_size")
    assert found.fields == {
        "flag": Field(nodes.Boolean()),
        "count": Field(nodes.Integer(ge=1, le=9), default=3),
        "step": Field(nodes.Integer(multiple_of=4), default=8),
        "rate": Field(nodes.Union((nodes.Number(gt=0, lt=1), null)), default=None),
        "name": Field(text, default="x"),
        "mode": Field(nodes.Literal(("a", "b", 3)), default="a"),
        "sizes": Field(nodes.ListOf(nodes.Integer()), default=[1, 2]),
        "pair": Field(nodes.FixedTuple((nodes.Integer(), text)), default=[1, "a"]),
        "many": Field(nodes.TupleOf(nodes.Number(), min_length=1), default=[0.5]),
        "table": Field(nodes.Union((numbers, null)), default=None),
        "either": Field(nodes.Union((text, nodes.ListOf(text))), default="x"),
        "group": Field(nodes.Union((group, null)), default=None),
        "head": Field(nodes.ComponentOf("head", Scope(num_classes=1))),
        "box": Field(nodes.Union((nodes.ComponentOf("box_loss"), null)), default=None),
        "transforms": Field(nodes.ListOf(nodes.ComponentOf("transform"))),
        "nothing": Field(null, default=None),
    }


def test_settings_know_the_dataclass_that_they_build() -> None:
    group = schema_of(Every).fields["group"].type
    assert isinstance(group, nodes.Union)
    assert [member.cls for member in group.members if isinstance(member, nodes.Settings)] == [Inner]


class NoConstructor(Sampler):
    """Takes torch's own."""

    def forward(self, assignment: Any) -> Any:
        return assignment


def test_a_class_without_a_constructor_has_no_keys() -> None:
    assert schema_of(NoConstructor) == Schema()


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


class UncheckedPattern:
    def __init__(self, *, name: Annotated[str, Limit(pattern="a+")] = "a") -> None: ...


class BoundOnEither:
    def __init__(self, *, size: Annotated[int | None, Limit(ge=1)] = None) -> None: ...


class DefaultComponent:
    def __init__(self, *, sampler: Sampler = NoConstructor()) -> None: ...  # noqa: B008 - what is refused


ALLOWED = (
    "cannot be configured from YAML; allowed: bool, int, float, str, Literal, list[...], tuple[...], dict[str, ...], "
    "None, frozen dataclasses, and interfaces of kinds"
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
            BoundOnEither,
            ":BoundOnEither(size): Ge(ge=1) would not be checked; allowed: ge, gt, le, lt on a number, "
            "multiple_of on a whole one, min_length, max_length on text or a list of any length",
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


def test_a_rule_that_no_recipe_would_be_checked_against_is_refused() -> None:
    with pytest.raises(PluginError, match=r"UncheckedPattern\(name\): .*a\+.* would not be checked; allowed: ge, "):
        schema_of(UncheckedPattern)
