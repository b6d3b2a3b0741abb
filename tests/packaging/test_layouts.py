"""Wheels, editable installs and a plain checkout: each finds its manifests, in an environment of its own."""

import json
import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.packaging.environment import LIST, ROOT, Environment, build_wheels, clean_variables, link_packages

PLUGIN = ROOT / "plugins" / "detzoo-ssd"

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links to packages need a POSIX file system")


@pytest.fixture(scope="module")
def links(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return link_packages(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both wheels, built from this checkout."""
    return build_wheels([ROOT, PLUGIN], tmp_path_factory.mktemp("dist"))


def test_two_wheels_are_built(wheels: dict[str, Path]) -> None:
    assert sorted(wheels) == ["detzoo", "detzoo_ssd"]


@pytest.mark.parametrize(
    ("wheel", "wanted"),
    [
        (
            "detzoo",
            [
                "detzoo/registry.yaml",
                "detzoo/components/registry.yaml",
                "detzoo/comparison/demo.yaml",
                "detzoo/py.typed",
                "detzoo/comparison/page.html",
                "detzoo/plugins/templates/plugin/common/pyproject.toml.in",
                "detzoo/plugins/templates/plugin/common/src/PACKAGE/__init__.py.in",
            ],
        ),
        ("detzoo_ssd", ["detzoo_ssd/registry.yaml", "detzoo_ssd/py.typed"]),
    ],
)
def test_a_wheel_holds_its_manifests_and_its_licence(wheels: dict[str, Path], wheel: str, wanted: list[str]) -> None:
    with zipfile.ZipFile(wheels[wheel]) as archive:
        names = archive.namelist()
    assert [name for name in wanted if name not in names] == []
    assert any(name.endswith("licenses/LICENSE") for name in names)
    strangers = [name for name in names if name.partition("/")[0].partition("-")[0] != wheel]
    assert strangers == [], "a wheel must install its own package only"
    own = [name for name in names if not name.startswith("detzoo/plugins/templates/plugin/")]
    assert not [name for name in own if "/tests/" in name or name.endswith(".pyc")]


def test_the_plugin_needs_a_range_of_the_core(wheels: dict[str, Path]) -> None:
    with zipfile.ZipFile(wheels["detzoo_ssd"]) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("METADATA")]
        text = archive.read(name).decode()
    assert "Requires-Dist: detzoo>=0.1" in text


def test_with_both_wheels_ssd_is_listed_and_without_its_wheel_the_command_is_named(
    wheels: dict[str, Path], links: Path, tmp_path: Path
) -> None:
    clean = Environment(tmp_path / "clean", links)
    clean.install(str(wheels["detzoo"]))
    assert "pip install detzoo-ssd" in clean.detzoo("list")
    assert not {"ssd300_vgg16_voc"} & names(clean)
    clean.install(str(wheels["detzoo_ssd"]))
    assert {"ssd300_vgg16_voc", "ssd300_vgg16", "ssdlite320_mobilenet_v3_large"} <= names(clean)
    assert "pip install detzoo-ssd" not in clean.detzoo("list")
    assert "type: ssd_bipartite" in clean.detzoo("show", "ssd300_vgg16_voc")


def names(environment: Environment) -> set[str]:
    """Detectors that are installed."""
    found = json.loads(environment.detzoo("list", "--json"))
    return {row["name"] for row in found["installed"]}


def test_an_uninstalled_detector_names_its_distribution(wheels: dict[str, Path], links: Path, tmp_path: Path) -> None:
    clean = Environment(tmp_path / "clean", links)
    clean.install(str(wheels["detzoo"]))
    done = subprocess.run(
        [str(clean.python), "-c", LIST, "show", "ssd300_vgg16_voc"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "provided by detzoo-ssd: pip install detzoo-ssd" in done.stderr
    assert "Traceback" not in done.stderr


def test_editable_installs_find_their_manifests(links: Path, tmp_path: Path) -> None:
    pytest.importorskip("editables", reason="hatchling needs it for editable installs without a network")
    clean = Environment(tmp_path / "clean", links)
    clean.install("-e", str(ROOT), "-e", str(PLUGIN))
    assert "ssd300_vgg16_voc" in names(clean)
    assert "type: ssd_bipartite" in clean.detzoo("show", "ssd300_vgg16_voc")


def test_a_checkout_finds_the_core_and_the_index_without_any_install(links: Path, tmp_path: Path) -> None:
    clean = Environment(tmp_path / "clean", links)
    assert "pip install detzoo-ssd" in clean.detzoo("list", path=ROOT)


def test_the_environment_of_these_tests_is_clean(links: Path, tmp_path: Path) -> None:
    clean = Environment(tmp_path / "clean", links)
    done = subprocess.run(
        [
            str(clean.python),
            "-c",
            "import numpy, importlib.util as u; print(u.find_spec('detzoo'), u.find_spec('detzoo_ssd'))",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env=clean_variables(),
    )
    assert done.stdout.split() == ["None", "None"]
