"""The commit of the working folder, for the parameters of a run."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

_SECONDS: Final = 10


def git_state(folder: Path) -> dict[str, str | bool]:
    """``commit``, ``branch``, whether tracked files are ``changed``; empty without a repository, or without git."""
    commit = _asked(folder, "rev-parse", "HEAD")
    changed = _asked(folder, "status", "--porcelain", "--untracked-files=no")
    branch = _asked(folder, "rev-parse", "--abbrev-ref", "HEAD")
    if commit is None or changed is None or branch is None:
        return {}
    return {"commit": commit, "branch": branch, "changed": bool(changed)}


def _asked(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
