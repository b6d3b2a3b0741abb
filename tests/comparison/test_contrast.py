"""Text of the page against what lies behind it: WCAG 2.2, 1.4.3, level AA, in light and in dark."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

CSS = files("detzoo.comparison").joinpath("page.css").read_text(encoding="utf-8")
AA = 4.5
TEXTS = ("--text", "--quiet", "--strong", "--mark")
PAPERS = ("--paper", "--soft")
LABEL = "#111"
"""Behind the names of boxes, whatever the image."""


def schemes() -> dict[str, dict[str, str]]:
    """The variables of light, then those of dark."""
    blocks = re.findall(r":root \{([^}]*)\}", CSS)
    return dict(zip(("light", "dark"), (dict(re.findall(r"(--\w+): (#\w+);", b)) for b in blocks), strict=True))


def luminance(colour: str) -> float:
    """WCAG's relative luminance of ``#rgb`` or ``#rrggbb``."""
    digits = colour.removeprefix("#")
    digits = "".join(d * 2 for d in digits) if len(digits) == 3 else digits
    parts = [int(digits[n : n + 2], 16) / 255 for n in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    """WCAG's contrast ratio, 1 to 21."""
    dark, light = sorted((luminance(a), luminance(b)))
    return (light + 0.05) / (dark + 0.05)


def test_the_formula() -> None:
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    assert contrast("#777", "#fff") == pytest.approx(4.48, abs=0.01)  # the well-known grey that just fails


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(scheme: str) -> None:
    colours = schemes()[scheme]
    assert set(colours) == {*TEXTS, *PAPERS, "--line", "--heat"}
    ratios = {(t, p): contrast(colours[t], colours[p]) for t in TEXTS for p in PAPERS}
    # Counts stand on every shade between the paper and the strongest of the confusion matrix.
    ratios["--text", "--heat"] = contrast(colours["--text"], colours["--heat"])
    assert {pair: round(ratio, 2) for pair, ratio in ratios.items() if ratio < AA} == {}


def test_names_of_boxes_can_be_read() -> None:
    assert f".box .back {{ fill: {LABEL};" in CSS
    of_boxes = re.search(r"\.box\.truth, (.*)\n", CSS)
    assert of_boxes is not None
    tones = re.findall(r"color: (#\w+);", of_boxes[0])
    assert len(tones) == 4
    assert [tone for tone in tones if contrast(tone, LABEL) < AA] == []
