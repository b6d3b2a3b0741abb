"""Requests over HTTP: what an address, a server or the network does wrong becomes one reason in plain words."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from typing import Any, Final
from urllib.parse import ParseResult, quote, unquote, urlparse

TIMEOUT: Final = 30.0
"""Seconds without a byte."""
FAILURES: Final = (http.client.HTTPException, urllib.error.URLError, TimeoutError, ConnectionError, ValueError)
"""What the functions below, and reading from an answer, raise; ``reason_of`` puts it into words."""
_SHOWN: Final = 40
_SAFE: Final = "/%:=&?~#+!$,;'@()*[]"


def parse_address(location: str) -> ParseResult:
    """The parts of an address, of any scheme.

    Raises:
        ValueError: it is none: half a bracket of IPv6, or over HTTP no host, a port that is none, control characters.
    """
    url = urlparse(location)
    if url.scheme in ("http", "https"):
        if not url.hostname:
            raise ValueError("it has no host")
        _ = url.port  # computed when asked for; a ValueError where it is no number
        if any(ord(letter) < 32 or ord(letter) == 127 for letter in unquote(location)):
            raise ValueError("it holds control characters")
        if " " in url.netloc:
            raise ValueError("its host holds a space")
    return url


def ascii_address(url: ParseResult) -> str:
    """The address as it is sent: letters beyond ASCII in percent form, those of the host as IDNA.

    Raises:
        ValueError: the host cannot be written so.
    """
    try:
        host = url.netloc if url.netloc.isascii() else url.netloc.encode("idna").decode()
        return url._replace(netloc=host, path=quote(url.path, _SAFE), query=quote(url.query, _SAFE)).geturl()
    except UnicodeError:
        raise ValueError("the host cannot be looked up") from None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Python's own, which leaves the connection open where the new address is none."""

    def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except ValueError as error:
            fp.close()
            raise ValueError(f"the server redirects to what is no address ({error})") from None

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def request(address: str, headers: dict[str, str] | None = None) -> Any:
    """The answer to a GET, opened; redirects are followed, a compressed answer is not asked for.

    Args:
        address: as ``ascii_address`` gives it.
        headers: more of them.

    Raises:
        FAILURES: there is no answer, or one of another kind; ``HTTPError`` for one that refuses.
    """
    sent = {"User-Agent": "detzoo", "Accept-Encoding": "identity"} | (headers or {})
    opener = urllib.request.build_opener(_Redirects)
    response = opener.open(urllib.request.Request(address, headers=sent), timeout=TIMEOUT)
    packed = response.headers.get("Content-Encoding", "identity")
    if packed.lower() != "identity":  # other bytes, and another length, than the file's
        response.close()
        raise ValueError(f"the server sends it compressed ({packed[:_SHOWN]!r})")
    return response


def stated_length(response: Any) -> int | None:
    """Bytes that the server states, or None.

    Raises:
        ValueError: it states something else.
    """
    stated = response.headers.get("Content-Length")
    if stated is None:
        return None
    if not (stated.isascii() and stated.isdigit() and len(stated) < 19):
        raise ValueError(f"the server states the length {stated[:_SHOWN]!r}")
    return int(stated)


def reason_of(error: BaseException) -> str:
    """The reason that one of ``FAILURES`` gives: ``Connection refused`` for ``[Errno 111] Connection refused``."""
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}".rstrip()
    if isinstance(error, http.client.BadStatusLine) and not isinstance(error, http.client.RemoteDisconnected):
        return f"the server's answer is not HTTP: it begins with {str(error).strip()[:_SHOWN]!r}"
    if isinstance(error, http.client.IncompleteRead):
        return "the answer was cut short"
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(cause) or type(cause).__name__
