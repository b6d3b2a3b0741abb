"""Known breakages are found, and said with what to do about them."""

import json
from importlib import metadata
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from detzoo.cli import app
from detzoo.plugins import doctor
from detzoo.plugins.doctor import (
    InstallationProblem,
    floor_problems,
    missing_problems,
    opencv_problems,
    optional,
    plugin_problems,
    required,
    torch_pair_problems,
    trial_problems,
)

REQUIRES = metadata.requires("detzoo") or []
ALL = dict.fromkeys(required(REQUIRES), "9.9")


def test_this_installation_is_healthy() -> None:
    report = doctor.examine()
    assert report.problems == []
    assert report.versions["torch"]
    assert report.devices[0].startswith("cpu")
    assert report.plugins["core"].startswith("ok")
    assert report.as_dict()["ok"] is True


def test_one_opencv_wheel_is_fine() -> None:
    assert opencv_problems({"opencv-python-headless": "5.0"}) == []
    assert opencv_problems({"opencv-contrib-python": "4.10"}) == []


def test_two_opencv_wheels_are_named() -> None:
    (problem,) = opencv_problems({"opencv-python": "4.9", "opencv-python-headless": "5.0"})
    assert problem.what == "2 OpenCV wheels share one cv2 folder: opencv-python 4.9, opencv-python-headless 5.0"
    assert problem.fix == (
        "pip uninstall opencv-python opencv-python-headless opencv-contrib-python opencv-contrib-python-headless; "
        "pip install opencv-python-headless "
        "(the same cv2 as opencv-python, without the windows that servers cannot open)"
    )


def test_no_opencv_wheel_is_a_problem() -> None:
    assert opencv_problems({}) == [InstallationProblem("OpenCV is not installed", "pip install opencv-python-headless")]


def test_missing_distributions_are_listed_in_one_command() -> None:
    have = {name: version for name, version in ALL.items() if name not in {"pluggy", "rich"}}
    assert missing_problems(have, REQUIRES) == [
        InstallationProblem("not installed: pluggy, rich", "pip install pluggy rich")
    ]
    assert missing_problems(ALL, REQUIRES) == []
    assert missing_problems({}, []) == []


def test_what_is_required_is_what_the_metadata_of_detzoo_says() -> None:
    assert {"torch", "plotly", "pyyaml", "typer"} <= {name.casefold() for name in required(REQUIRES)}
    assert {"timm", "onnx", "faster-coco-eval"} <= set(optional(REQUIRES))
    assert not {"pytest", "mkdocs-material", "opencv-python-headless"} & {*required(REQUIRES), *optional(REQUIRES)}
    have = {name: version for name, version in ALL.items() if name != "plotly"}
    assert missing_problems(have, REQUIRES) == [InstallationProblem("not installed: plotly", "pip install plotly")]


def test_markers_and_extras_of_requirements() -> None:
    requires = ["torch>=2.11", "rich", "onnx>=1; extra == 'onnx'", 'ruff; extra == "dev"', "opencv-python-headless>=4"]
    assert required(requires) == ["torch", "rich"]
    assert optional(requires) == ["onnx"]


def test_torch_and_torchvision_that_do_not_fit_are_named() -> None:
    installed = {"torch": "2.14.1", "torchvision": "0.29.2"}
    (problem,) = torch_pair_problems(installed, ["numpy", "torch==2.15.0", "pillow>=5.3"])
    assert problem.what == (
        "torchvision 0.29.2 was built for torch 2.15.0, but torch 2.14.1 is installed: "
        "its operators (nms, roi_align) fail to load"
    )
    assert problem.fix == "pip install --upgrade torch torchvision, or: pip install torch==2.15.0"


@pytest.mark.parametrize("version", ["2.15.0", "2.15.0+cu130", "2.15.0+cpu"])
def test_builds_of_one_version_fit(version: str) -> None:
    assert torch_pair_problems({"torch": version, "torchvision": "0.29.2"}, ["torch==2.15.0"]) == []
    assert torch_pair_problems({"torch": version, "torchvision": "0.29.2"}, ["torch (==2.15.0)"]) == []


def test_a_torchvision_that_pins_nothing_is_left_alone() -> None:
    assert torch_pair_problems({"torch": "2.11", "torchvision": "0.26"}, ["torch", "torch>=2"]) == []
    assert torch_pair_problems({"torchvision": "0.26"}, ["torch==2.11"]) == []


def test_versions_below_the_floor_are_problems() -> None:
    requires = ["torch>=2.11", "rich>=13.9", "timm>=1.0; extra == 'timm'", "not a requirement !!", "absent>=1"]
    installed = {"torch": "2.4.1", "rich": "15.0", "timm": "0.9"}
    assert floor_problems(installed, requires) == [
        InstallationProblem("torch 2.4.1 is installed, detzoo needs torch>=2.11", "pip install 'torch>=2.11'")
    ]


def test_a_piece_that_raises_is_a_problem_with_its_first_line() -> None:
    def broken() -> None:
        raise ValueError("numpy.dtype size changed\nsecond line")

    assert trial_problems("pycocotools", broken, "reinstall") == [
        InstallationProblem("pycocotools does not work: ValueError: numpy.dtype size changed", "reinstall")
    ]
    assert trial_problems("fine", lambda: None, "nothing") == []


def test_plugins_that_cannot_be_used_are_problems() -> None:
    records = [
        SimpleNamespace(name="core", distribution="detzoo 1", status="ok", message=""),
        SimpleNamespace(name="off", distribution="detzoo-off 1", status="disabled", message="switched off"),
        SimpleNamespace(name="bad", distribution="detzoo-bad 2", status="broken", message="no module named x"),
    ]
    assert plugin_problems(records) == [
        InstallationProblem(
            "plugin bad (detzoo-bad 2) is broken: no module named x",
            "detzoo plugins check shows the full error; DETZOO_DISABLE switches a plugin off",
        )
    ]


def test_the_command_prints_and_leaves_with_zero() -> None:
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 0
    assert "no problems found" in done.output
    assert "torchvision" in done.output


def test_the_command_leaves_with_one_where_something_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = doctor.Report({}, {}, [], {}, [InstallationProblem("it [broke]", "mend it")])
    monkeypatch.setattr(doctor, "examine", lambda: broken)
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 1
    assert "it [broke]" in done.output
    assert "mend it" in done.output
    done = CliRunner().invoke(app, ["doctor", "--json"])
    assert done.exit_code == 1
    assert json.loads(done.output)["problems"] == [{"what": "it [broke]", "fix": "mend it"}]
