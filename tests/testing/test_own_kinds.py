"""A plugin with a kind of its own, as ``new-plugin`` writes it: the kit knows the kind, and finds what is wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from detzoo.plugins import manager
from detzoo.plugins.new_plugin import write_plugin
from detzoo.plugins.registry import get_registry
from detzoo.plugins.sync import sync
from detzoo.testing import ConformanceError, check_plugin, checks, kit


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Write the plugin ``fresh`` with texts exchanged in its files, as the only one installed; returns its package."""

    def installed(*exchanged: tuple[str, str, str]) -> Path:
        write_plugin("fresh", "kind", tmp_path / "detzoo-fresh")
        package = tmp_path / "detzoo-fresh" / "src" / "detzoo_fresh"
        for file, old, new in exchanged:
            text = (package / file).read_text()
            assert old in text
            (package / file).write_text(text.replace(old, new))
        monkeypatch.syspath_prepend(package.parent)
        point = EntryPoint("fresh", "detzoo_fresh", "detzoo.plugins")
        monkeypatch.setattr(manager, "entry_points", lambda group: [point])
        get_registry.cache_clear()
        kit._subject.cache_clear()
        return package

    yield installed
    get_registry.cache_clear()
    for name in [name for name in sys.modules if name.startswith("detzoo_fresh")]:
        del sys.modules[name]


def test_its_components_are_checked_by_its_own_module(install: Callable[..., Path]) -> None:
    install()
    sync(["fresh"], write=True)
    get_registry.cache_clear()
    pairs = [(component.id, str(check)) for component, check in checks("fresh")]
    assert ("fresh_gate fresh/factor", "shapes_stay") in pairs
    assert ("neck fresh/fresh", "declared_maps") in pairs

    results = check_plugin("fresh", groups=("interface", "numeric", "manifest"))

    assert {result.status for result in results} == {"passed"}
    (own,) = [result for result in results if result.check == "shapes_stay"]
    assert own.expected == "Every map goes out under its name, in its shape."
    assert own.page == "detzoo_fresh.gate"


def test_a_component_that_breaks_the_kind_s_rule_is_found(install: Callable[..., Path]) -> None:
    install(("gate.py", "values * self.factors[name]", "(values * self.factors[name])[..., 1:]"))

    with pytest.raises(ConformanceError, match=r"fresh_gate fresh/factor: shapes_stay \(failed\)") as caught:
        check_plugin("fresh", groups=("numeric",))

    assert "came: s8 was (2, 16, 20, 28), is (2, 16, 20, 27)" in str(caught.value)


@pytest.mark.parametrize(
    ("exchanged", "message"),
    [
        (("registry.yaml", "detzoo_fresh.gate:Gate", "detzoo_fresh.gate:Factor"), "has no abstract method"),
        (("gate.py", 'kind: ClassVar[str] = "fresh_gate"', 'kind: ClassVar[str] = "gate"'), "its `kind` is 'gate'"),
        (("gate.py", "def check_shapes_stay", "def shapes_stay"), "detzoo_fresh.gate has no function check_..."),
    ],
)
def test_a_kind_that_is_none(install: Callable[..., Path], exchanged: tuple[str, str, str], message: str) -> None:
    install(exchanged)

    found = {result.check: result for result in check_plugin("fresh", groups=("manifest",), on_fail="return")}

    assert found["every_kind_has_its_interface"].status == "failed"
    assert message in found["every_kind_has_its_interface"].message


def test_checks_that_cannot_be_imported_are_one_message(install: Callable[..., Path]) -> None:
    package = install(("registry.yaml", "conformance: detzoo_fresh.gate", "conformance: detzoo_fresh.gone"))

    with pytest.raises(ConformanceError) as caught:
        list(checks("fresh"))

    assert str(caught.value) == (
        f"{package / 'registry.yaml'}: the checks of the kind fresh_gate: No module named 'detzoo_fresh.gone'"
    )
