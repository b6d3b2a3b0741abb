"""The documentation's code runs: every ```python block of a page, in order, in one namespace."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from detzoo.cli import app
from detzoo.data import list_splits
from detzoo.data.formats import data_yaml, derived
from detzoo.recipes.recipe import load_recipe

ROOT = Path(__file__).parents[2]
PAGES = [  # the README's is run by test_readme.py, which has its weights
    path for path in sorted((ROOT / "docs").rglob("*.md")) if "```python\n" in path.read_text()
]


SLOW = ("export",)
"""It writes a file of ONNX with detections inside, as tests/export does with a smaller network."""


def test_there_are_pages_with_code() -> None:
    assert len(PAGES) >= 2


@pytest.mark.parametrize(
    "page", [pytest.param(page, id=page.stem, marks=[pytest.mark.slow] * (page.stem in SLOW)) for page in PAGES]
)
def test_code_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "docs"}
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL):
        exec(compile(block, str(page), "exec", dont_inherit=True), namespace)


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda page: page.stem
)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("plugins/*/README.md"))]


def named(page: Path) -> str:
    return f"{page.parent.name}/{page.stem}"


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def command_lines(page: Path) -> list[list[str]]:
    """Words of every ``detzoo`` command of a page's sh blocks."""
    lines = [line for block in blocks(page, "sh") for line in block.replace("\\\n", " ").splitlines()]
    parts = [part.strip() for line in lines for part in re.split(r"&&|\|", line)]
    return [shlex.split(part, comments=True) for part in parts if part.split()[:1] == ["detzoo"]]


def parsed(words: list[str]) -> None:
    """Find the command and take its options; nothing runs."""
    command: Any = typer.main.get_command(app)
    context = command.context_class(command, info_name="detzoo")
    rest = words[1:]
    while hasattr(command, "list_commands") and rest and not rest[0].startswith("-"):
        name, rest = rest[0], rest[1:]
        found = command.get_command(context, name)
        assert found is not None, f"there is no command {name}"
        command, context = found, found.context_class(found, info_name=name, parent=context)
    command.make_parser(context).parse_args(list(rest))


@pytest.mark.parametrize(
    "page", [page for page in DOCUMENTS if command_lines(page)], ids=lambda p: f"{p.parent.name}/{p.stem}"
)
def test_commands_and_options_exist(page: Path) -> None:
    for words in command_lines(page):
        try:
            parsed(words)
        except Exception as error:
            raise AssertionError(f"{page.name}: {shlex.join(words)}: {error}") from error


def test_a_wrong_option_would_be_noticed() -> None:
    for line in (
        ["detzoo", "predict", "x", "--scores", "0.3"],
        ["detzoo", "data", "chek", "x"],
        ["detzoo", "forecast"],
    ):
        with pytest.raises(Exception, match=r"[Nn]o such option|there is no command"):
            parsed(line)


def recipes_of(page: Path) -> list[str]:
    return [block for block in blocks(page, "yaml") if block.startswith("api: 1\ndetectors:")]


@pytest.mark.parametrize(
    "page", [page for page in DOCUMENTS if recipes_of(page)], ids=lambda p: f"{p.parent.name}/{p.stem}"
)
def test_whole_recipes_resolve(page: Path, tmp_path: Path) -> None:
    for number, text in enumerate(recipes_of(page)):
        path = tmp_path / f"recipe{number}.yaml"
        path.write_text(text)
        for name in yaml.safe_load(text)["detectors"]:
            assert load_recipe(f"{path}#{name}").values["architecture"]


def test_every_data_yaml_of_the_data_page_is_read(tmp_path: Path) -> None:
    """Each block describes a source whose splits it names; the folders are made, empty."""
    page = ROOT / "docs" / "data.md"
    found = 0
    for number, text in enumerate(blocks(page, "yaml")):
        folder = tmp_path / str(number) / "data"
        folder.mkdir(parents=True)
        content = yaml.safe_load(text)
        (folder / "data.yaml").write_text(text)
        if "source" in content:
            photos = folder.parent / "photos"
            (photos / "images").mkdir(parents=True)
            (photos / "labels").mkdir()
            (photos / "classes.txt").write_text("cat\n")
        named = content.get("splits") or {key: 0 for key in ("train", "val", "test") if key in content}
        assert set(named) <= set(list_splits(folder)), text
        found += 1
    assert found >= 8


def test_the_data_page_names_every_key() -> None:
    text = (ROOT / "docs" / "data.md").read_text()
    for key in {*data_yaml.KEYS, *derived.KEYS, *(key for keys in data_yaml.PART_KEYS.values() for key in keys)}:
        assert f"`{key}`" in text or f"{key}:" in text, key
