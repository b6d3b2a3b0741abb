"""From 16 bits a channel to 8: cameras and scanners store 10, 12 or 14 bits in files of 16."""

from __future__ import annotations

import functools
import logging
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_LOG = logging.getLogger("detzoo.images")
_DEPTHS: Final = (8, 10, 12, 14, 16)


def bits_used(brightest: int) -> int:
    """The bit depth of a camera or scanner, 8, 10, 12, 14 or 16, that holds the brightest value."""
    return next(bits for bits in _DEPTHS if brightest < 1 << bits)


def reduce_to_8_bits(values: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Values 0..65535 of any shape, scaled by the bits that they use and rounded.

    All 16 bits are divided by 257 (65535 = 255 x 257). Values that use fewer would become black so; they are divided
    by the largest value of their own depth, and the first image of each depth is logged.

    Args:
        values: whole numbers.
        name: of the image, for the log.
    """
    bits = bits_used(int(values.max(initial=0)))
    if bits < 16:
        _tell(bits, name)
    largest = (1 << bits) - 1
    table = (np.arange(largest + 1) * 255 * 2 + largest) // (2 * largest)
    return np.asarray(table.astype(np.uint8)[values])


@functools.cache
def _tell_once(bits: int) -> list[str]:
    return []


def _tell(bits: int, name: str) -> None:
    told = _tell_once(bits)
    if not told:
        told.append(name)
        _LOG.warning(
            "%s: a 16-bit image that uses %d bits: its values are scaled as such; so are all that use as few",
            name,
            bits,
        )
