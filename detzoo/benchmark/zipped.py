"""Size of weights in a zip file: what is downloaded to a small machine, and what quantisation makes smaller."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

_PIECE: Final = 1 << 20


def zipped_bytes(pieces: Iterable[bytes]) -> int:
    """Bytes after deflate, as zip compresses by default (level 6); names and headers not counted."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return sum(len(packer.compress(piece)) for piece in pieces) + len(packer.flush())


def tensor_pieces(tensors: Iterable[Tensor]) -> Iterator[bytes]:
    """The bytes of tensors of any type."""
    for tensor in tensors:
        plain = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        for start in range(0, len(plain), _PIECE):
            yield plain[start : start + _PIECE].tobytes()


def file_pieces(paths: Iterable[Path]) -> Iterator[bytes]:
    """The bytes of files."""
    for path in paths:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece
