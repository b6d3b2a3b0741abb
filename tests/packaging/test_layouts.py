"""Wheels, editable installs and a plain checkout: each finds its manifests, in an environment of its own.

PyTorch and the other dependencies are shared from the environment that runs the tests: a folder of links to its
packages, without detzoo's own.
"""

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "plugins" / "detzoo-ssd"
LIST = "from detzoo.cli import main; main()"

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links to packages need a POSIX file system")


class Environment:
    """A clean virtual environment with the dependencies, without detzoo."""

    def __init__(self, folder: Path, links: Path) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        self.python = folder / "bin" / "python"
        (site,) = folder.glob("lib/python*/site-packages")
        # Lines of a .pth file become entries of sys.path; .pth files inside them are not read, so nothing leaks
        (site / "shared.pth").write_text(f"{links}\n")

    def install(self, *arguments: str) -> None:
        run(
            [
                *(sys.executable, "-m", "pip", "--python", str(self.python), "--disable-pip-version-check"),
                *("install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"),
                *arguments,
            ]
        )

    def detzoo(self, *arguments: str, path: Path | None = None) -> str:
        """Output of the command line, run from a folder that holds nothing."""
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "DETZOO"))}
        if path is not None:
            env["PYTHONPATH"] = str(path)
        return run([str(self.python), "-c", LIST, *arguments], cwd=self.python.parent, env=env)


def run(command: list[str], *, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def links(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages of this environment, as links; detzoo, its plugins and editable installs are left out."""
    folder = tmp_path_factory.mktemp("shared")
    for path in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if "detzoo" not in path.name and path.suffix != ".pth":
            (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both wheels, built from this checkout."""
    out = tmp_path_factory.mktemp("dist")
    for folder in (ROOT, PLUGIN):
        run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(folder)])
    return {path.name.partition("-")[0]: path for path in out.glob("*.whl")}


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
                "detzoo/demo.yaml",
                "detzoo/py.typed",
                "detzoo/report/page.html",
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
    assert not [name for name in names if "/tests/" in name or name.endswith(".pyc")]


def test_the_plugin_needs_a_range_of_the_core(wheels: dict[str, Path]) -> None:
    with zipfile.ZipFile(wheels["detzoo_ssd"]) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("METADATA")]
        text = archive.read(name).decode()
    assert "Requires-Dist: detzoo<0.2,>=0.1" in text


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
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
    )
    assert done.stdout.split() == ["None", "None"]
