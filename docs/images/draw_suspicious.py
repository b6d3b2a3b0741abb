"""The image of docs/data.md: labels of COCO that ``detzoo data check --with`` doubts, as its page draws them.

    python docs/images/draw_suspicious.py checked/suspicious.html

of the val split of coco128; only photographs under CC BY 2.0 are shown, the strongest doubts of each kind first.
"""

from __future__ import annotations

import base64
import html
import re
import sys
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from detzoo.runtime.drawing import DARK, write_image

OUT: Final = Path(__file__).with_name("suspicious-labels.jpg")
SHOWN: Final = {  # file of val2017 -> kinds
    "000000009483.jpg": ["missing label"],
    "000000007574.jpg": ["not found"],
    "000000005001.jpg": ["missing label"],
    "000000000885.jpg": ["missing label"],
    "000000001000.jpg": ["badly located"],
    "000000007281.jpg": ["not found"],
}
CELL, LINE, COLUMNS = 300, 22, 3


def main(page: str) -> None:
    text = Path(page).read_text(encoding="utf-8")
    item = r'base64,([^"]+)" alt=""><h2>(.*?)</h2><p>(.*?)</p><small>(.*?)</small>'
    left, cells = {name: list(kinds) for name, kinds in SHOWN.items()}, []
    for image, title, said, place in re.findall(item, text):
        wanted = left.get(place.split(", ")[1], [])
        if (kind := title.split(",")[0]) in wanted:
            wanted.remove(kind)
            cells.append(cell(base64.b64decode(image), html.unescape(title), html.unescape(said)))
    rows = [np.concatenate(cells[n : n + COLUMNS], axis=1) for n in range(0, len(cells), COLUMNS)]
    write_image(OUT, np.concatenate(rows))


def cell(image: bytes, title: str, said: str) -> Any:
    pixels = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR_RGB)
    zoom = (CELL - 10) / max(pixels.shape[:2])
    small = cv2.resize(pixels, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
    drawn = np.full((CELL + 2 * LINE, CELL, 3), 255, np.uint8)
    top = CELL - 10 - small.shape[0]
    drawn[top : top + small.shape[0], : small.shape[1]] = small
    for line, (text, size) in enumerate(((title, 0.5), (said, 0.42))):
        place = (2, CELL + 8 + line * LINE)
        cv2.putText(drawn, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, DARK, 1, cv2.LINE_AA)
    return drawn


if __name__ == "__main__":
    main(*sys.argv[1:])
