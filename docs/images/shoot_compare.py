"""The screenshots of docs/compare.md, from the page of a comparison. Needs playwright and a Chromium.

python docs/images/shoot_compare.py runs/zoo-bccd/compared/index.html [--chromium /usr/bin/chromium]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
from playwright.sync_api import Browser, sync_playwright

HERE = Path(__file__).parent
WIDTH = 1100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    args = parser.parse_args()
    with sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=args.chromium, args=["--no-sandbox"])
        shot(browser, args.page, "light", HERE / "compare-light.png", 0, "Speed and accuracy")
        dark = HERE / "compare-dark.png"
        shot(browser, args.page, "dark", dark, 900, "Images")
        browser.close()
    cv2.imwrite(str(HERE / "compare-dark.jpg"), cv2.imread(str(dark)), [cv2.IMWRITE_JPEG_QUALITY, 85])
    dark.unlink()


def shot(browser: Browser, path: Path, scheme: str, out: Path, height: int, section: str) -> None:
    """From the top, or where a section begins, to the section's end or as far as ``height``."""
    page = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme=scheme)
    page.goto(path.absolute().as_uri())
    page.wait_for_timeout(2000)  # the drawings are made as they come into view
    box = page.locator("section", has=page.get_by_role("heading", name=section)).first.bounding_box()
    page.evaluate("y => window.scrollTo(0, y)", box["y"])
    page.wait_for_timeout(1500)
    page.evaluate("window.scrollTo(0, 0)")
    box = page.locator("section", has=page.get_by_role("heading", name=section)).first.bounding_box()
    top, bottom = (box["y"], box["y"] + height) if height else (0, box["y"] + box["height"])
    clip = {"x": 0, "y": top, "width": WIDTH, "height": bottom - top}
    page.screenshot(path=str(out), clip=clip, full_page=True)
    page.close()


if __name__ == "__main__":
    main()
