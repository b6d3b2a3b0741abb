"""The process in which a foreign detector runs: it loads it, asks it, and times its answers.

Whatever happens here - a crash, ``sys.exit``, a loop without end - happens to this process alone.
"""

from __future__ import annotations

import faulthandler
import json
import os
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from detzoo.errors import DetzooError
from detzoo.foreign.results import as_arrays
from detzoo.foreign.wire import ClosedError, receive, send
from detzoo.runtime.foreign_files import is_ordinary

GRACE = 30.0
"""Seconds after its limit when this process ends by itself, should nobody be left to end it."""


def main() -> None:
    """Serve the process that holds the other end of the connection, until it ends."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    connection.set_inheritable(False)  # a child of the foreign program must not hold it open
    try:
        request, _ = receive(connection)
        program = _load(connection, request)
        while program is not None:
            request, content = receive(connection)
            _detect(connection, program, request, content)
    except ClosedError:
        pass
    os._exit(0)  # whatever threads the foreign program has left


def _load(connection: socket.socket, request: dict[str, Any]) -> Any:
    """The program; None where it could not be loaded, which is told."""
    from detzoo.foreign.loading import load_program

    faulthandler.dump_traceback_later(request["limit"] + GRACE, exit=True)
    try:
        program, names = load_program(request["target"], request["options"], request["device"], request["threads"])
        told = _plain(program.describe())
    except BaseException as error:  # sys.exit too: it is a foreign program's
        send(connection, _told(error))
        return None
    finally:
        faulthandler.cancel_dump_traceback_later()
    send(connection, {"names": names, "described": told})
    return program


def _detect(connection: socket.socket, program: Any, request: dict[str, Any], content: bytes) -> None:
    images, start = [], 0
    for height, width in request["sizes"]:
        end = start + height * width * 3
        pixels = np.frombuffer(content, np.uint8, end - start, start).reshape(height, width, 3)
        images.append(pixels.copy())  # it may write into them
        start = end
    faulthandler.dump_traceback_later(request["limit"] + GRACE, exit=True)
    begin = time.perf_counter()
    try:
        found = as_arrays(program(images), len(images))  # arrays in memory: a GPU has been waited for
        seconds = time.perf_counter() - begin
    except BaseException as error:
        send(connection, _told(error))
        return
    finally:
        faulthandler.cancel_dump_traceback_later()
    reply = {"counts": [len(one.scores) for one in found], "seconds": seconds, "processor": time.process_time()}
    parts = [part.tobytes() for one in found for part in (one.boxes, one.scores, one.labels)]
    send(connection, reply, b"".join(parts))


def _told(error: BaseException) -> dict[str, Any]:
    """A failure: the message of one of detzoo's own errors, else its kind, first line and place."""
    if isinstance(error, DetzooError):
        return {"error": str(error)}
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    place = _place(error)
    return {"error": f"{type(error).__name__}: {first}".rstrip(": ") + (f" ({place})" if place else "")}


def _place(error: BaseException) -> str:
    """The innermost line that is in none of the installed packages, nor in detzoo: the user's own."""
    own = Path(__file__).parent
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if "site-packages" not in path.parts and own not in path.parents and is_ordinary(path):
            return f"{path.name}:{frame.lineno}"
    return ""


def _plain(told: Any) -> dict[str, Any]:
    """A description as plain values; what is none becomes text."""
    if not isinstance(told, dict):
        return {"described": str(told)}
    plain: dict[str, Any] = json.loads(json.dumps({str(key): value for key, value in told.items()}, default=str))
    return plain
