"""What MkDocs does not do by itself: plugins' READMEs become pages, and links to source files become their names.

In the repository a page links to ``../detzoo/ops/nms.py``, which every viewer of the repository can follow. The site
holds no source files, so there such a link becomes the path as code. Links to a plugin's README lead to its page.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any, Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).parents[1]
LINK: Final = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def on_files(files: Files, *, config: MkDocsConfig, **_: Any) -> Files:
    """Add the README as the first page, and those of the plugins as ``plugins/NAME.md``."""
    files.append(File.generated(config, "index.md", content=(ROOT / "README.md").read_text(encoding="utf-8")))
    for readme in sorted(ROOT.glob("plugins/*/README.md")):
        name = f"plugins/{readme.parent.name}.md"
        files.append(File.generated(config, name, content=readme.read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Rewrite the links that leave the site."""
    uri = page.file.src_uri
    readme = re.fullmatch(r"plugins/(detzoo-[\w-]+)\.md", uri)
    folder = "" if uri == "index.md" else f"plugins/{readme[1]}" if readme else f"docs/{posixpath.dirname(uri)}"
    return LINK.sub(lambda found: rewritten(found, folder.rstrip("/"), posixpath.dirname(uri)), markdown)


def rewritten(found: re.Match[str], folder: str, here: str) -> str:
    """One link of a page that lies in ``folder`` of the repository, and in ``here`` of the site."""
    image, text, target = found.groups()
    path, _, anchor = target.partition("#")
    if "://" in target or not path:
        return found[0]
    place = posixpath.normpath(posixpath.join(folder, path))
    readme = re.fullmatch(r"plugins/(detzoo-[\w-]+)(/README\.md)?", place)
    inside = f"plugins/{readme[1]}.md" if readme else place.removeprefix("docs/") if place.startswith("docs/") else None
    if inside is not None:
        return f"{image}[{text}]({posixpath.relpath(inside, here or '.')}{'#' + anchor if anchor else ''})"
    if place == "README.md":
        return f"[{text}]({posixpath.relpath('index.md', here or '.')})"
    return text if text.startswith("`") else f"{text} (`{place}`)"
