"""``detzoo new-plugin``: what it writes builds, installs and passes its own tests as it is; what it refuses."""

import os
import re
import sys
import tomllib
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from detzoo.cli import app
from detzoo.errors import PluginError
from detzoo.plugins.new_plugin import PATTERNS, write_plugin
from detzoo.plugins.registry import Registry
from detzoo.recipes.recipe import load_recipe
from tests.packaging.environment import ROOT, Environment, build_wheels, clean_variables, link_packages, run

KINDS = ("backbone", "neck", "head", "matcher", "loss", "postprocess", "proposals", "kind", "detector")


@pytest.fixture(scope="module")
def links(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return link_packages(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The core's wheel, so that the templates are those that are shipped."""
    return build_wheels([ROOT], tmp_path_factory.mktemp("dist"))["detzoo"]


def test_every_kind_is_tested() -> None:
    assert tuple(PATTERNS) == KINDS


@pytest.mark.skipif(os.name == "nt", reason="links to packages need a POSIX file system")
@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_builds_installs_and_passes_its_tests(kind: str, core: Path, links: Path, tmp_path: Path) -> None:
    clean = Environment(tmp_path / "clean", links)
    clean.install(str(core))
    plugin = tmp_path / "detzoo-fresh"
    said = clean.detzoo("new-plugin", "fresh", "--kind", kind, "--out", str(plugin))
    assert f"written: {plugin}/pyproject.toml" in said
    wheel = build_wheels([plugin], tmp_path / "dist")["detzoo_fresh"]
    clean.install(str(wheel))
    assert "schemas.json" in clean.detzoo("registry", "sync", "fresh")
    assert "up to date: fresh" in clean.detzoo("registry", "sync", "--check", "detzoo-fresh")
    run([sys.executable, "-m", "ruff", "check", "--no-cache", "--config", str(plugin / "pyproject.toml"), str(plugin)])
    done = run([str(clean.python), "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=plugin, env=clean_variables())
    assert " passed" in done
    assert "failed" not in done
    assert "skipped" not in done


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_a_kind(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    written = write_plugin("two-words", kind, folder)
    names = {str(path.relative_to(folder)) for path in written}
    module = {"kind": "gate", "detector": "head"}.get(kind, kind)
    assert names == {
        "README.md",
        "pyproject.toml",
        "src/detzoo_two_words/__init__.py",
        f"src/detzoo_two_words/{module}.py",
        "src/detzoo_two_words/registry.yaml",
        "tests/test_plugin.py",
    }
    manifest = yaml.safe_load((folder / "src/detzoo_two_words/registry.yaml").read_text())
    assert manifest["components"][-1] == f"detzoo_two_words.{module}:TwoWords"
    assert set(manifest) <= {"api", "kinds", "components", "detectors"}
    texts = [path.read_text() for path in written]
    assert not [text for text in texts if "${name}" in text or "${package}" in text]
    for path in written:
        if path.suffix == ".py":
            compile(path.read_text(), str(path), "exec", dont_inherit=True)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"detector"}))
def test_the_command_of_the_readme_resolves(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = write_plugin("two-words", kind, tmp_path / "made")
    readme = next(path for path in written if path.name == "README.md").read_text()
    ((recipe, override),) = re.findall(r"detzoo train (\w+) .* --set '(.*)'", readme)
    brings = {"retinanet": "detzoo_retinanet", "fasterrcnn": "detzoo_faster_rcnn", "ssd": "detzoo_ssd"}
    pytest.importorskip(brings[recipe.split("_")[0]])
    monkeypatch.syspath_prepend(tmp_path / "made" / "src")
    point = EntryPoint("two-words", "detzoo_two_words", "detzoo.plugins")
    registry = Registry([*entry_points(group="detzoo.plugins"), point])
    assert registry.plugins.records["two-words"].status == "not-loaded"
    values = load_recipe(recipe, [override], registry=registry).values
    assert values[override.partition("=")[0]]["type"] == "two_words"
    for name in [name for name in sys.modules if name.startswith("detzoo_two_words")]:
        del sys.modules[name]


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_that_its_template_uses_gets_the_kind(kind: str, tmp_path: Path) -> None:
    """A class ``Neck(Neck)`` would be its own parent."""
    used = {"head": "grid_head", "detector": "grid_head", "kind": "gate", "matcher": "per_image_matcher"}.get(
        kind, kind
    )
    manifest = write_plugin(used.replace("_", "-"), kind, tmp_path / "made")[4].read_text()
    name = "".join(word.capitalize() for word in used.split("_"))
    suffix = {"kind": "Neck", "postprocess": "Postprocess"}.get(kind, kind.capitalize())
    assert f":{name}{suffix if kind != 'postprocess' else ''}\n" in manifest


def test_nothing_of_the_template_s_class_is_said_in_the_metadata(tmp_path: Path) -> None:
    written = write_plugin("blur", "neck", tmp_path / "made")
    texts = {path.name: path.read_text() for path in written}
    summary = "same number of channels"
    assert [name for name, text in texts.items() if summary in text] == ["neck.py"]
    project = tomllib.loads(texts["pyproject.toml"])["project"]
    assert project["description"] == "A plugin for detzoo: the neck blur."
    assert project["dependencies"] == ["detzoo>=0.1"]


def test_a_plugin_s_kind_has_no_template(tmp_path: Path) -> None:
    pytest.importorskip("detzoo_rcnn")
    with pytest.raises(PluginError) as caught:
        write_plugin("mine", "region_head", tmp_path / "mine")
    assert str(caught.value) == (
        '"region_head" is a kind that detzoo-rcnn brings, and there is no template for it: write a plugin of another '
        "kind, derive the class from detzoo_rcnn.interfaces:RegionHead and add detzoo-rcnn to the dependencies"
    )


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(PluginError) as caught:
        write_plugin("blur", "neck", tmp_path / "mine")
    assert str(caught.value) == (
        f"{tmp_path / 'mine'} is not empty, and nothing in it is overwritten; choose another folder with --out"
    )
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    with pytest.raises(PluginError, match=r"thesis\.txt is a file; name a folder that is empty, or that does not"):
        write_plugin("blur", "neck", tmp_path / "mine" / "thesis.txt")


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        (
            "blur",
            "neckk",
            'unknown kind "neckk"; did you mean "neck"? allowed: '
            "backbone, detector, head, kind, loss, matcher, neck, postprocess, proposals",
        ),
        (
            "My Blur",
            "neck",
            '"My Blur" cannot be the name of a plugin; expected small letters, digits, - and _, a letter first, '
            "and no keyword of Python",
        ),
        (
            "lambda",
            "neck",
            '"lambda" cannot be the name of a plugin; expected small letters, digits, - and _, a letter first, '
            "and no keyword of Python",
        ),
        ("detzoo-blur", "neck", 'plugin "detzoo-blur": leave the prefix out, it is added: detzoo new-plugin blur'),
        ("core", "neck", 'a plugin named "core" exists already (see `detzoo plugins`); choose another name'),
    ],
)
def test_what_is_refused(name: str, kind: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(PluginError) as caught:
        write_plugin(name, kind, tmp_path / "made")
    assert str(caught.value) == message
    assert not (tmp_path / "made").exists()


def test_the_command_says_what_comes_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["new-plugin", "blur", "--kind", "neck"], catch_exceptions=False)
    assert done.exit_code == 0
    assert done.output.partition("next:\n")[2] == (
        "  pip install -e 'detzoo-blur[dev]'\n"
        "  pytest detzoo-blur    # the conformance kit\n"
        "The class in detzoo-blur/src is yours to change.\n"
    )
    assert (tmp_path / "detzoo-blur" / "pyproject.toml").is_file()
