"""Fetching an image by its address."""

from __future__ import annotations

import urllib.error
from typing import Final

from detzoo.errors import DataError
from detzoo.runtime.web import FAILURES, ascii_address, parse_address, reason_of, request, stated_length

MAX_DOWNLOAD_BYTES: Final = 100 * 2**20
_PARTIAL: Final = 206


def download_image(url: str) -> bytes:
    """The bytes at an http(s) address.

    Raises:
        DataError: it is no address, cannot be fetched, is cut short, too large or empty.
    """
    try:
        with request(ascii_address(parse_address(url))) as answer:
            if answer.status == _PARTIAL:
                raise ValueError("the server answers with a part of the file, unasked")
            length = stated_length(answer)
            data: bytes = answer.read(MAX_DOWNLOAD_BYTES + 1)  # one more than allowed: enough to refuse
    except (*FAILURES, OSError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise DataError(f"{url}: cannot be fetched: {reason_of(error)}") from None
    if len(data) > MAX_DOWNLOAD_BYTES:
        raise DataError(f"{url}: larger than {MAX_DOWNLOAD_BYTES // 2**20} MiB")
    if length is not None and len(data) < length:
        raise DataError(f"{url}: the answer was cut short: {len(data)} of {length} bytes")
    if not data:
        raise DataError(f"{url}: the answer is empty")
    return data
