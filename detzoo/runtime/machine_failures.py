"""Which errors are failures of the machine (disk, memory, pipe), and how they are told in one message."""

from __future__ import annotations

import errno
import sys
from typing import Final

_REASONS: Final = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than this disk or process may write (see `ulimit -f`)",
    errno.EIO: "the disk cannot be read or written (input/output error)",
    errno.ENOMEM: "there is not enough memory",
    errno.EAGAIN: "the system gives no more processes or threads (see `ulimit -u`)",
    errno.EMFILE: "too many files are open (see `ulimit -n`)",
    errno.ENFILE: "too many files are open on this machine",
    errno.EPIPE: "the program that reads the output has ended",
}
_NO_MEMORY: Final = ("can't allocate memory", "not enough memory")  # torch and OpenCV on the CPU: a bare RuntimeError


def machine_failure(error: BaseException) -> str | None:
    """What failed, for a message; None for an error that is not the machine's.

    Args:
        error: of the system (OSError), of Python (MemoryError), or torch's own kinds of the latter.
    """
    if isinstance(error, OSError):
        return None if error.errno is None else _REASONS.get(error.errno)
    if isinstance(error, MemoryError):
        return _REASONS[errno.ENOMEM]
    torch = sys.modules.get("torch")  # an error of torch comes from a torch that is loaded
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return f"there is not enough memory on the device ({str(error).splitlines()[0]})"
    if isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY):
        return f"there is not enough memory ({str(error).splitlines()[0]})"
    return None
