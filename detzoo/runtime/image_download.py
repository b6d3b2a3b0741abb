"""Fetching an image by its address."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import Final

from detzoo.errors import DataError

MAX_DOWNLOAD_BYTES: Final = 100 * 2**20


def download_image(url: str) -> bytes:
    """The bytes at an http(s) address.

    Raises:
        DataError: it cannot be fetched, or is too large or empty.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "detzoo"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            data: bytes = answer.read(MAX_DOWNLOAD_BYTES + 1)  # one more than allowed: enough to refuse
    except urllib.error.HTTPError as error:
        error.close()
        raise DataError(f"{url}: cannot be fetched: {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise DataError(f"{url}: cannot be fetched: {error.reason or error}") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{url}: cannot be fetched: {error}") from None
    if len(data) > MAX_DOWNLOAD_BYTES:
        raise DataError(f"{url}: larger than {MAX_DOWNLOAD_BYTES // 2**20} MiB")
    if not data:
        raise DataError(f"{url}: the answer is empty")
    return data
