"""One file over HTTP: streamed, resumed, with progress."""

from __future__ import annotations

import contextlib
import sys
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import urlparse

from detzoo.errors import WeightsError
from detzoo.runtime.foreign_files import is_ordinary
from detzoo.runtime.web import FAILURES, reason_of, request, stated_length

_CHUNK: Final = 1 << 20
_OK, _PARTIAL, _BAD_RANGE = 200, 206, 416


def download(url: str, part: Path, *, resume: bool, progress: bool, by_hand: str) -> bool:
    """Fetch ``url`` into ``part``.

    Args:
        url: http or https.
        part: what an earlier, interrupted call left there is continued, if ``resume``.
        resume: only right where a hash will tell whether the pieces fit.
        progress: show it on stderr.
        by_hand: end of the message when the file cannot be had.

    Returns:
        whether the server said how long the file is: without that a transfer that was cut ends like a whole one.

    Raises:
        WeightsError: not reachable, refused, or cut short; ``part`` is then kept for the next call if ``resume``.
    """
    have = part.stat().st_size if resume and is_ordinary(part) else 0
    try:
        response = _open(url, have)
        if response is None:  # nothing after what is there: whole, or not this file's beginning. The hash decides
            return True
        with response, part.open("ab" if response.status == _PARTIAL else "wb") as file:
            start = have if response.status == _PARTIAL else 0
            length = stated_length(response)
            total = None if length is None else start + length
            with _shown(url, total, start, progress) as advance:
                done = start + _copy(response, file, advance)
    except FAILURES as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise WeightsError(f"cannot download {url}: {reason_of(error)}. {by_hand}") from None
    if total is not None and done < total:  # http.client ends a cut connection without an error
        kept = "Run again to continue." if resume else "Run again."
        raise WeightsError(f"the download of {url} was cut short: {done} of {total} bytes. {kept} {by_hand}")
    if done == 0:
        raise WeightsError(f"cannot download {url}: the server gave an empty answer ({response.status}). {by_hand}")
    return total is not None or bool(response.chunked)  # chunks have an end of their own


def _open(url: str, have: int) -> Any:
    try:
        response = request(url, {"Range": f"bytes={have}-"} if have else {})
    except urllib.error.HTTPError as error:
        if error.code != _BAD_RANGE or not have:  # 416 without a range is the server's own fault
            raise
        error.close()
        return None
    if response.status == _PARTIAL and _begins(response) != str(have):
        response.close()
        if not have:
            raise ValueError("the server answers with a part of the file, unasked")
        return _open(url, 0)  # another range: from the start
    return response


def _begins(response: Any) -> str:
    return str(response.headers.get("Content-Range", "")).removeprefix("bytes ").partition("-")[0]


def _copy(response: Any, file: BinaryIO, advance: Callable[[int], None]) -> int:
    done = 0
    while chunk := _read(response):
        file.write(chunk)
        done += len(chunk)
        advance(len(chunk))
    return done


def _read(response: Any) -> bytes:
    try:
        return bytes(response.read(_CHUNK))
    except OSError as error:  # of the network; what the disk says is another matter
        raise ConnectionError(*error.args) from None


@contextlib.contextmanager
def _shown(url: str, total: int | None, start: int, progress: bool) -> Iterator[Callable[[int], None]]:
    """A bar in a terminal; elsewhere one line, since nobody watches it move."""
    name = Path(urlparse(url).path).name
    if not progress:
        yield lambda _: None
        return
    if not sys.stderr.isatty():
        size = "" if total is None else f" ({total / 1e6:.1f} MB)"
        print(f"downloading {name}{size} from {urlparse(url).netloc}", file=sys.stderr, flush=True)
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=total, completed=start)
        yield lambda count: bar.advance(task, count)
