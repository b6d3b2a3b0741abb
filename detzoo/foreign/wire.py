"""Messages between detzoo and the process of a foreign detector: a JSON object and bytes, nothing that is unpickled."""

from __future__ import annotations

import json
import socket
import struct
import time
from typing import Any, Final

_LENGTHS: Final = struct.Struct(">IQ")
_MOST_TEXT: Final = 64 * 2**20
_MOST_BYTES: Final = 2**33
_PIECE: Final = 1 << 20


class ClosedError(Exception):
    """The other side has ended."""


def send(connection: socket.socket, message: dict[str, Any], content: bytes = b"") -> None:
    """Send a message.

    Args:
        connection: may have a timeout.
        message: plain values.
        content: bytes that follow it.

    Raises:
        TimeoutError: the connection's timeout is over.
        ClosedError: the other side has ended.
    """
    text = json.dumps(message).encode()
    try:
        connection.sendall(_LENGTHS.pack(len(text), len(content)) + text)
        if content:
            connection.sendall(content)
    except (BrokenPipeError, ConnectionResetError):
        raise ClosedError from None


def receive(connection: socket.socket, deadline: float | None = None) -> tuple[dict[str, Any], bytes]:
    """The next message.

    Args:
        connection: to read from.
        deadline: of ``time.monotonic``; None waits for ever.

    Raises:
        TimeoutError: the deadline has passed.
        ClosedError: the other side has ended, or sends no messages.
    """
    text_length, length = _LENGTHS.unpack(_exactly(connection, _LENGTHS.size, deadline))
    if text_length > _MOST_TEXT or length > _MOST_BYTES:
        raise ClosedError
    try:
        message = json.loads(_exactly(connection, text_length, deadline))
    except ValueError:
        raise ClosedError from None
    if not isinstance(message, dict):
        raise ClosedError
    return message, bytes(_exactly(connection, length, deadline))


def _exactly(connection: socket.socket, count: int, deadline: float | None) -> bytearray:
    read = bytearray()
    while len(read) < count:
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            connection.settimeout(left)
        try:
            piece = connection.recv(min(_PIECE, count - len(read)))
        except ConnectionResetError:
            raise ClosedError from None
        if not piece:
            raise ClosedError
        read += piece
    return read
