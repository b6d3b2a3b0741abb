"""The image grid as HTML: each image embedded once, its boxes drawn over it as SVG; a click enlarges it."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from detzoo.comparison.table_html import breakable
from detzoo.runtime.html_images import data_url

if TYPE_CHECKING:
    from detzoo.comparison.image_grid import Box, WallImage

IMAGE_WIDTH: Final = 800
"""Images are made no wider, in px, to keep the page small enough to be mailed."""
ENLARGED: Final = (
    '<dialog id="enlarged" aria-labelledby="enlarged-title"><header><h3 id="enlarged-title"></h3>'
    '<button type="button" data-step="-1" aria-label="previous">&#8592;</button>'
    '<button type="button" data-step="1" aria-label="next">&#8594;</button>'
    '<button type="button" data-close aria-label="close">&#10005;</button></header>'
    '<div class="frame"></div><ul class="said"></ul></dialog>'
)
"""Where an image is shown large, with what each of its boxes says."""


def wall_html(images: Sequence[WallImage]) -> str:
    """All images, with the key to their boxes."""
    key = (("truth", "ground truth"), ("true", "found"), ("false", "false"), ("missed", "not found"))
    items = "".join(f'<li><span class="key {kind}"></span>{words}</li>' for kind, words in key)
    rows = "".join(image_html(image, number) for number, image in enumerate(images))
    return f'<ul class="legend">{items}</ul>{choices_html(images)}{rows}'


def choices_html(images: Sequence[WallImage]) -> str:
    """Two detectors to choose; useless without JavaScript, which therefore unhides them."""
    names = list(dict.fromkeys(name for image in images for name in image.f1))
    if len(names) < 2:
        return ""
    options = "".join(f'<option value="{html.escape(name)}">{html.escape(name)}</option>' for name in names)
    choices = "".join(
        f'<label>{words} <select data-wall="{key}"><option value="">any</option>{options}</select></label>'
        for key, words in (("finds", "objects that this finds"), ("misses", "and this misses"))
    )
    return f'<div class="menus" id="wall-choice" hidden>{choices}<output></output></div>'


def image_html(image: WallImage, number: int) -> str:
    """One image: embedded in the first figure, referred to by the others."""
    height, width = image.pixels.shape[:2]
    classes = sorted({box.name for boxes in image.boxes.values() for box in boxes})
    url = data_url(image.pixels, widest=IMAGE_WIDTH)
    photo = f'<image id="photo{number}" href="{url}" width="{width}" height="{height}"/>'
    figures = []
    for place, (caption, boxes) in enumerate(image.boxes.items()):
        below = photo if place == 0 else f'<use href="#photo{number}"/>'
        drawn = "".join(box_svg(box, width) for box in boxes)
        words = html.escape(caption)
        said = f"{caption}: F1 {image.f1[caption]:.2f}" if caption in image.f1 else caption
        figures.append(
            f'<figure data-detector="{words}"><button type="button" class="enlarge" aria-label="enlarge {words}">'
            f'<svg viewBox="0 0 {width} {height}">{below}{drawn}</svg></button>'
            f"<figcaption>{breakable(said)}</figcaption></figure>"
        )
    listed, title = html.escape(json.dumps(classes)), html.escape(image.title)
    return (
        f'<article class="wall" data-classes="{listed}" data-title="{title}"><h3>{title}'
        f"<small> mean F1 {image.score:.2f}</small></h3>"
        f'<div class="images">{"".join(figures)}</div></article>'
    )


def box_svg(box: Box, width: int) -> str:
    """A rectangle with a tooltip and its class; the page sets the size of the text and the place of the label."""
    x, y, w, h = (f"{float(v):.1f}" for v in box.xywh)
    unit = width / 400
    name = html.escape(box.name)
    at = f'x="{x}" y="{max(float(y) - 3 * unit, 20 * unit):.1f}" font-size="{20 * unit:.1f}"'
    mask = f'<path d="{box.outline}"/>' if box.outline else ""
    return (
        f'<g class="box {box.kind}" data-class="{name}">{mask}<rect x="{x}" y="{y}" width="{w}" height="{h}">'
        f"<title>{html.escape(box.words)}</title></rect><text {at}>{name}</text></g>"
    )
