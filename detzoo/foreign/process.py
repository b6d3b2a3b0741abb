"""The process of a foreign detector, from outside: started, asked within a time limit, ended with all its children."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from typing import Any, Final

from detzoo.foreign.errors import ForeignError
from detzoo.foreign.wire import ClosedError, receive, send

_START: Final = (
    "import json, sys; sys.path += [place for place in json.loads(sys.argv[2]) if place not in sys.path]; "
    "from detzoo.foreign.worker import main; main()"
)
"""Without the current folder at the head of the path (-P): a file in it may be called as a module of Python. What
this process finds modules in comes last."""
_TAIL: Final = 65536
"""Bytes of what it printed that are kept."""
_SHOWN: Final = 3
"""Last lines of them that a message shows."""


class ForeignProcess:
    """A Python process of its own; it ends with this object.

    Args:
        name: of the detector, for messages.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-c", _START, str(theirs.fileno()), json.dumps(sys.path)],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is ours to handle, and its children end with it
            )
        self._connection = ours
        self._printed: deque[bytes] = deque()
        self._reader = threading.Thread(target=_keep_last, args=(self._child.stdout, self._printed), daemon=True)
        self._reader.start()
        self.close = weakref.finalize(self, _end, self._child, ours)

    def ask(self, request: dict[str, Any], content: bytes = b"", *, limit: float) -> tuple[dict[str, Any], bytes]:
        """Send a request and wait for the reply.

        Args:
            request: plain values.
            content: bytes that follow.
            limit: seconds.

        Raises:
            ForeignError: it failed, ended, or took longer; after the latter two it is gone.
        """
        if not self.close.alive:
            raise ForeignError(f"{self.name}: its process has ended")
        try:
            self._connection.settimeout(limit)
            send(self._connection, request | {"limit": limit}, content)
            reply, found = receive(self._connection, time.monotonic() + limit)
        except TimeoutError:
            self.close()
            raise ForeignError(
                f"{self.name}: no answer within {limit:g} s, so it was ended; allow more with --set time_limit=SECONDS"
            ) from None
        except ClosedError:
            raise ForeignError(f"{self.name}: {self._ending()}") from None
        if "error" in reply:
            raise ForeignError(f"{self.name}: {reply['error']}")
        return reply, found

    def _ending(self) -> str:
        """How it ended, and what it printed last."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(timeout=5)
        code = self._child.returncode
        self.close()
        self._reader.join(timeout=5)
        if code is None:
            how = "sends what are no messages, so it was ended"
        elif code < 0:
            how = f"was killed by {_signal_name(-code)}"
        else:
            how = f"ended by itself, with exit code {code}"
        lines = b"".join(self._printed).decode(errors="replace").splitlines()
        last = [line.strip() for line in lines if line.strip()][-_SHOWN:]
        return f"its process {how}" + (f"; its last words: {' / '.join(last)}" if last else "")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _keep_last(stream: Any, kept: deque[bytes]) -> None:
    """Read what it prints, so that it never waits for a full pipe, and keep the end of it."""
    size = 0
    with stream:
        while piece := os.read(stream.fileno(), 4096):
            kept.append(piece)
            size += len(piece)
            while size > _TAIL:
                size -= len(kept.popleft())


def _end(child: subprocess.Popen[bytes], connection: socket.socket) -> None:
    connection.close()
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(timeout=5)
