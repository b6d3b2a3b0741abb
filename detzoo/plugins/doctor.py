"""What ``detzoo doctor`` looks at: versions, devices, and the ways in which installations are known to break."""

from __future__ import annotations

import importlib
import platform
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any, Final

from detzoo.runtime.parallel import cores

_WORKING_ON_IT: Final = ("dev", "docs")
"""Extras for who works on detzoo itself: nothing that a user misses."""
OPENCV: Final = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
_OPENCV_FIX: Final = (
    f"pip uninstall {' '.join(OPENCV)}; pip install opencv-python-headless "
    "(the same cv2 as opencv-python, without the windows that servers cannot open)"
)


@dataclass(frozen=True)
class InstallationProblem:
    """Something that will not work, and what to do about it.

    Args:
        what: one sentence.
        fix: a command or a step.
    """

    what: str
    fix: str


@dataclass(frozen=True)
class Report:
    """The state of an installation.

    Args:
        system: Python, operating system, processor.
        versions: of each distribution; None for an extra that is not installed.
        devices: what torch can compute on.
        plugins: name -> status and distribution.
        problems: empty where all is well.
    """

    system: dict[str, str]
    versions: dict[str, str | None]
    devices: list[str]
    plugins: dict[str, str]
    problems: list[InstallationProblem]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "ok": not self.problems}


def examine() -> Report:
    """Look at everything; nothing is changed, nothing fetched."""
    requires = _requirements("detzoo")
    installed = installed_versions([*required(requires), *optional(requires)])
    plugins, plugin_problems = _plugins()
    problems = [
        *opencv_problems(installed),
        *missing_problems(installed, requires),
        *torch_pair_problems(installed, _requirements("torchvision")),
        *floor_problems(installed, requires),
        *_trials(),
        *plugin_problems,
    ]
    return Report(_system(), _shown(installed, requires), _devices(), plugins, problems)


def required(requires: Iterable[str]) -> list[str]:
    """Distributions that detzoo needs, by its own metadata; OpenCV, of which any wheel will do, is looked at apart."""
    return [name for name, extra in _names(requires) if extra is None and name not in OPENCV]


def optional(requires: Iterable[str]) -> list[str]:
    """Distributions that its extras bring."""
    return [name for name, extra in _names(requires) if extra is not None and extra not in _WORKING_ON_IT]


def _names(requires: Iterable[str]) -> Iterator[tuple[str, str | None]]:
    """Name and extra of each requirement, as ``onnx>=1.17; extra == 'onnx'`` states them."""
    for line in requires:
        name, extra = re.match(r"[\w.-]+", line), re.search(r"extra\s*==\s*['\"]([\w.-]+)['\"]", line)
        if name is not None:
            yield name[0], None if extra is None else extra[1]


def installed_versions(names: Iterable[str]) -> dict[str, str]:
    """Version of detzoo, of every OpenCV wheel and of ``names``; only those that are installed."""
    found = {}
    for name in ("detzoo", *names, *OPENCV):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def opencv_problems(installed: Mapping[str, str]) -> list[InstallationProblem]:
    """Every OpenCV wheel writes the same ``cv2`` folder: two of them overwrite each other's files."""
    wheels = [f"{name} {installed[name]}" for name in OPENCV if name in installed]
    if not wheels:
        return [InstallationProblem("OpenCV is not installed", "pip install opencv-python-headless")]
    if len(wheels) == 1:
        return []
    return [InstallationProblem(f"{len(wheels)} OpenCV wheels share one cv2 folder: {', '.join(wheels)}", _OPENCV_FIX)]


def missing_problems(installed: Mapping[str, str], requires: Iterable[str]) -> list[InstallationProblem]:
    """Distributions that detzoo needs, by its own metadata, and that are not there."""
    missing = [name for name in required(requires) if name not in installed]
    if not missing:
        return []
    return [InstallationProblem(f"not installed: {', '.join(missing)}", f"pip install {' '.join(missing)}")]


def torch_pair_problems(installed: Mapping[str, str], torchvision_requires: Iterable[str]) -> list[InstallationProblem]:
    """torchvision's compiled operators fit one version of torch, the one that its metadata pins."""
    if "torch" not in installed or "torchvision" not in installed:
        return []
    pinned = next((m[1] for line in torchvision_requires if (m := re.match(r"torch\s*\(?==\s*([\w.+]+)", line))), None)
    found = installed["torch"].partition("+")[0]  # 2.15.0+cu130 is built from 2.15.0
    if pinned is None or pinned.partition("+")[0] == found:
        return []
    return [
        InstallationProblem(
            f"torchvision {installed['torchvision']} was built for torch {pinned}, but torch {installed['torch']} is "
            "installed: its operators (nms, roi_align) fail to load",
            f"pip install --upgrade torch torchvision, or: pip install torch=={pinned}",
        )
    ]


def floor_problems(installed: Mapping[str, str], requires: Iterable[str]) -> list[InstallationProblem]:
    """Distributions older than detzoo's own metadata asks for."""
    try:
        from packaging.requirements import InvalidRequirement, Requirement
    except ImportError:  # comes with accelerate; its absence is reported there
        return []
    problems = []
    for line in requires:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        version = installed.get(requirement.name)
        if version is None or (requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})):
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            problems.append(
                InstallationProblem(
                    f"{requirement.name} {version} is installed, detzoo needs {requirement}",
                    f"pip install '{requirement}'",
                )
            )
    return problems


def trial_problems(name: str, attempt: Callable[[], None], fix: str) -> list[InstallationProblem]:
    """Run a small piece of a library; whatever it raises is the problem."""
    try:
        attempt()
    except Exception as error:
        message = str(error).splitlines()[0] if str(error) else ""
        return [InstallationProblem(f"{name} does not work: {type(error).__name__}: {message}".rstrip(": "), fix)]
    return []


def plugin_problems(records: Iterable[Any]) -> list[InstallationProblem]:
    """Plugins that cannot be used.

    Args:
        records: of the plugin manager: ``name``, ``distribution``, ``status``, ``message``.
    """
    return [
        InstallationProblem(
            f"plugin {record.name} ({record.distribution}) is {record.status}: {record.message}",
            "detzoo plugins check shows the full error; DETZOO_DISABLE switches a plugin off",
        )
        for record in records
        if record.status not in {"ok", "not-loaded", "disabled"}
    ]


def _trials() -> list[InstallationProblem]:
    return [
        *trial_problems("torch", _try_torch, "pip install --force-reinstall torch torchvision"),
        *trial_problems("torchvision.ops.nms", _try_nms, "pip install --upgrade torch torchvision (both at once)"),
        *trial_problems("cv2", _try_opencv, _OPENCV_FIX),
        *trial_problems(
            "pycocotools", _try_pycocotools, "pip install --force-reinstall --no-cache-dir pycocotools numpy"
        ),
    ]


def _try_torch() -> None:
    import torch

    torch.ones(2, 2) @ torch.ones(2, 2)


def _try_nms() -> None:
    import torch
    import torchvision

    kept = torchvision.ops.nms(torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 4]]), torch.tensor([0.5, 0.9]), 0.5)
    if kept.tolist() != [1]:
        raise ValueError(f"it kept {kept.tolist()} of two equal boxes, not the better one")


def _try_opencv() -> None:
    import cv2
    import numpy as np

    coded, data = cv2.imencode(".png", np.zeros((2, 2, 3), np.uint8))
    if not coded or cv2.imdecode(data, cv2.IMREAD_COLOR) is None:
        raise ValueError("it cannot write and read a PNG")


def _try_pycocotools() -> None:
    """A pycocotools compiled against another NumPy fails at import: numpy.dtype size changed."""
    import numpy as np

    mask = importlib.import_module("pycocotools.mask")
    if mask.area(mask.encode(np.asfortranarray(np.ones((2, 3), np.uint8)))) != 6:
        raise ValueError("its mask of 6 pixels has another area")


def _plugins() -> tuple[dict[str, str], list[InstallationProblem]]:
    from detzoo.errors import DetzooError
    from detzoo.plugins.manager import PluginManager

    try:
        manager = PluginManager()
    except DetzooError as error:
        return {}, [InstallationProblem(f"plugins cannot be read: {error}", "detzoo plugins check")]
    for name, record in manager.records.items():
        if record.status == "not-loaded":
            try:
                manager.activate(name)
            except DetzooError:
                continue  # the record keeps the reason
    records = list(manager.records.values())
    return {r.name: f"{r.status} ({r.distribution})" for r in records}, plugin_problems(records)


def _requirements(name: str) -> Sequence[str]:
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []


def _shown(installed: Mapping[str, str], requires: Sequence[str]) -> dict[str, str | None]:
    from detzoo.runtime.version import __version__

    cv2 = [name for name in OPENCV if name in installed]
    own = installed.get("detzoo", f"{__version__} (used from its folder: what it requires is not known)")
    return {"detzoo": own, **{name: installed.get(name) for name in (*required(requires), *cv2, *optional(requires))}}


def _system() -> dict[str, str]:
    available = cores()
    return {
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform(),
        "processor": f"{platform.machine()}, {available} cores usable",
    }


def _devices() -> list[str]:
    try:
        import torch
    except Exception:  # reported by the trial
        return []
    found = [f"cpu ({torch.get_num_threads()} threads)"]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        found.append(f"cuda:{index} {properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    if torch.backends.mps.is_available():
        found.append("mps (Apple GPU)")
    return found
