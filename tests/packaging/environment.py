"""A clean virtual environment that shares the dependencies of the one that runs the tests, but not detzoo.

PyTorch and the other dependencies come from a folder of links to its packages, without detzoo's own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIST = "from detzoo.cli import main; main()"


class Environment:
    """A clean virtual environment with the dependencies, without detzoo."""

    def __init__(self, folder: Path, links: Path) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        self.python = folder / "bin" / "python"
        (site,) = folder.glob("lib/python*/site-packages")
        # Lines of a .pth file become entries of sys.path; .pth files inside them are not read, so nothing leaks
        (site / "shared.pth").write_text(f"{links}\n")

    def install(self, *arguments: str) -> None:
        run(
            [
                *(sys.executable, "-m", "pip", "--python", str(self.python), "--disable-pip-version-check"),
                *("install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"),
                *arguments,
            ]
        )

    def detzoo(self, *arguments: str, path: Path | None = None) -> str:
        """Output of the command line, run from a folder that holds nothing."""
        env = clean_variables()
        if path is not None:
            env["PYTHONPATH"] = str(path)
        return run([str(self.python), "-c", LIST, *arguments], cwd=self.python.parent, env=env)


def clean_variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "DETZOO"))}


def run(command: list[str], *, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def link_packages(folder: Path) -> Path:
    """The packages of this environment, as links; detzoo, its plugins and editable installs are left out.

    An environment may borrow packages from another (``--system-site-packages``, a .pth file): of two of one name, the
    one that is imported counts.
    """
    for site in (Path(entry) for entry in sys.path):
        for path in site.iterdir() if site.name in {"site-packages", "dist-packages"} and site.is_dir() else ():
            link = folder / path.name
            if "detzoo" not in path.name and path.suffix != ".pth" and not link.is_symlink():
                link.symlink_to(path)
    return folder


def build_wheels(folders: list[Path], out: Path) -> dict[str, Path]:
    """Wheels by the name of their distribution."""
    for folder in folders:
        run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(folder)])
    return {path.name.partition("-")[0]: path for path in out.glob("*.whl")}
