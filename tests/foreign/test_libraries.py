"""torchvision's, transformers' and OpenVINO's detectors find through detzoo what the libraries themselves say."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from numpy.typing import NDArray

from detzoo.foreign.detector import load_foreign
from detzoo.foreign.errors import ForeignError
from detzoo.foreign.results import as_arrays, check_values
from detzoo.recipes.class_names import COCO
from detzoo.runtime.images import read_image
from tests.foreign.loaded import loaded

SSDLITE = "ssdlite320_mobilenet_v3_large"


def images(*sizes: tuple[int, int]) -> list[NDArray[np.uint8]]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def ssdlite(outputs: int) -> Any:
    """With seeded weights, and norms that let something of the image through."""
    torch.manual_seed(0)
    model = torchvision.models.get_model(SSDLITE, weights=None, weights_backbone=None, num_classes=outputs)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.backbone.train()(torch.randn(2, 3, 320, 320))  # as if trained: else nothing arrives at the head
        for parameter in model.head.parameters():
            parameter.add_(0.03 * torch.randn(parameter.shape))
    return model.eval()


def test_ssdlite_of_torchvision(tmp_path: Path) -> None:
    model = ssdlite(4)
    torch.save(model.state_dict(), tmp_path / "mine.pth")
    options = ["classes=a,b,c", f"weights={tmp_path / 'mine.pth'}"]
    program = loaded(f"torchvision:{SSDLITE}", options)
    assert list(program.names) == [None, "a", "b", "c"]  # torchvision's background is output 0
    given = images((90, 120), (200, 100))
    with torch.inference_mode():
        expected = model([torch.from_numpy(image).permute(2, 0, 1) / 255 for image in given])
    for one, other, image in zip(as_arrays(program(given), 2), expected, given, strict=True):
        assert len(one.scores) > 10
        np.testing.assert_array_equal(one.boxes, other["boxes"].numpy())
        np.testing.assert_array_equal(one.labels, other["labels"].numpy())
        check_values(one, image.shape[:2], 4, "x")
    assert program.describe()["parameters"] == sum(p.numel() for p in model.parameters())
    with pytest.raises(ForeignError, match=r"does not fit .* with 3 outputs \(background and 2 classes\)"):
        loaded(f"torchvision:{SSDLITE}", ["classes=a,b", options[1]])
    with pytest.raises(ForeignError, match=f'did you mean "{SSDLITE}"'):
        loaded("torchvision:ssdlite320_mobilenet_v3")
    with pytest.raises(ForeignError, match=r'unknown set of weights "coco".*allowed: COCO_V1, DEFAULT, or a file'):
        loaded(f"torchvision:{SSDLITE}", ["weights=coco"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the exporter, about torchvision's code
def test_torchvision_s_onnx(tmp_path: Path) -> None:
    """As torchvision's documentation exports it: the network resizes, normalises and suppresses by itself."""
    model = ssdlite(4)
    given = images((90, 120), (90, 120))
    pixels = [torch.from_numpy(image).permute(2, 0, 1) / 255 for image in given]
    names = ["boxes", "scores", "labels"]
    torch.onnx.export(model, ([pixels[0]],), tmp_path / "mine.onnx", dynamo=False, opset_version=17, output_names=names)
    program = loaded(tmp_path / "mine.onnx", ["preset=torchvision", "classes=a,b,c", "keep=1000"])
    for found, one in zip(program(given), pixels, strict=True):
        with torch.inference_mode():
            (expected,) = model([one])
        boxes, scores, labels = found
        kept = expected["scores"] >= 0.01
        assert kept.sum() > 10
        np.testing.assert_allclose(scores, expected["scores"][kept].numpy(), atol=1e-4)
        np.testing.assert_allclose(boxes, expected["boxes"][kept].numpy(), atol=0.05)  # px
        assert (labels + 1).tolist() == expected["labels"][kept].tolist()


class Columns(torch.nn.Module):
    """A network with an output of YOLOv8's form: one box, and of a grey image its byte / 255 as a score."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("box", torch.tensor([16.0, 16, 8, 8]).view(1, 4, 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """[1,4+2,1]."""
        level = pixels.mean((1, 2, 3))[:, None, None]
        return torch.cat([self.get_buffer("box") + 0 * level, level, 1 - level], 1)


def exported(path: Path) -> None:
    program = torch.export.export(Columns(), (torch.rand(1, 3, 32, 32),))
    torch.export.save(program, path)


def scripted(path: Path) -> None:
    torch.jit.trace(Columns(), torch.rand(1, 3, 32, 32)).save(str(path))  # type: ignore[no-untyped-call]


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    ("write", "name", "size"), [(exported, "mine.pt2", ""), (scripted, "mine.pt", "input.size=[32, 32]")]
)
def test_programs_of_pytorch(write: Any, name: str, size: str, tmp_path: Path) -> None:
    """TorchScript does not say its size; 12..20 of 32 px are 24..40 of 64."""
    write(tmp_path / name)
    options = ["preset=yolov8", "classes=bright,dark"]
    found = loaded(tmp_path / name, [*options, *([size] if size else [])])
    ((boxes, scores, labels),) = found([np.full((64, 64, 3), 51, np.uint8)])
    order = np.argsort(-np.asarray(scores))
    np.testing.assert_allclose(boxes, [[24, 24, 40, 40]] * 2, atol=1e-4)
    assert np.asarray(scores)[order].tolist() == pytest.approx([0.8, 0.2])
    assert np.asarray(labels)[order].tolist() == [1, 0]
    if size:
        with pytest.raises(ForeignError, match=r"--set input\.size=\[HEIGHT,WIDTH\]"):
            loaded(tmp_path / name, options)


def test_a_damaged_program(tmp_path: Path) -> None:
    for name in ("cut.pt2", "cut.torchscript"):
        (tmp_path / name).write_bytes(b"abc")
        with pytest.raises(ForeignError, match="PyTorch cannot read it: "):
            loaded(tmp_path / name, ["preset=yolov8", "classes=a"])


def saved_detr(folder: Path) -> tuple[Any, Any]:
    from transformers import DetrConfig, DetrForObjectDetection, DetrImageProcessor, ResNetConfig

    torch.manual_seed(0)
    backbone = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], out_features=["stage2"])
    config = DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=backbone,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        num_queries=7,
        id2label={0: "N/A", 1: "cat", 2: "dog"},
        label2id={"N/A": 0, "cat": 1, "dog": 2},
    )
    model = DetrForObjectDetection(config).eval()
    processor = DetrImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return model, processor


def saved_rtdetr(folder: Path) -> tuple[Any, Any]:
    from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrImageProcessor, RTDetrResNetConfig

    torch.manual_seed(0)
    backbone = RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = RTDetrConfig(
        backbone_config=backbone,
        encoder_hidden_dim=16,
        encoder_in_channels=[8, 16, 16],
        encoder_ffn_dim=16,
        encoder_attention_heads=2,
        d_model=16,
        decoder_in_channels=[16, 16, 16],
        decoder_ffn_dim=16,
        decoder_layers=1,
        decoder_attention_heads=2,
        num_queries=9,
        id2label={0: "cat", 1: "dog"},
        label2id={"cat": 0, "dog": 1},
    )
    model = RTDetrForObjectDetection(config).eval()
    processor = RTDetrImageProcessor(size={"height": 64, "width": 64})
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return model, processor


@pytest.mark.parametrize(("save", "names"), [(saved_detr, [None, "cat", "dog"]), (saved_rtdetr, ["cat", "dog"])])
def test_a_folder_of_transformers(save: Any, names: list[str | None], tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    model, processor = save(tmp_path)
    program = loaded(f"hf:{tmp_path}")
    assert list(program.names) == names
    given = images((90, 120), (60, 50))
    with torch.inference_mode():
        outputs = model(**processor(images=given, return_tensors="pt"))
    expected = processor.post_process_object_detection(outputs, threshold=0.0, target_sizes=[(90, 120), (60, 50)])
    for one, other, image in zip(as_arrays(program(given), 2), expected, given, strict=True):
        inside = other["boxes"].clamp(min=0).minimum(torch.tensor([*image.shape[1::-1]] * 2))
        wide = (inside[:, 2:] > inside[:, :2]).all(1)
        assert wide.sum() > 3
        np.testing.assert_allclose(one.boxes, inside[wide].numpy(), atol=1e-3)
        np.testing.assert_allclose(one.scores, other["scores"][wide].numpy(), atol=1e-6)
        assert one.labels.tolist() == other["labels"][wide].tolist()
        check_values(one, image.shape[:2], len(names), "x")
    assert list(loaded(tmp_path).names) == names  # the folder without hf: is known by its config.json


def test_what_transformers_cannot_load(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text('{"model_type": "nothing"}')
    with pytest.raises(ForeignError, match="transformers cannot load "):
        loaded(f"hf:{tmp_path}")


@pytest.mark.parametrize(
    ("package", "target", "told"),
    [
        ("transformers", "hf:org/name", "pip install transformers"),
        ("rfdetr", "rfdetr:nano", "pip install rfdetr"),
        ("openvino", "net.xml", r"pip install 'detzoo\[openvino\]'"),
        ("onnxruntime", "net.onnx", r"pip install 'detzoo\[onnx\]'"),
    ],
)
def test_a_package_that_is_not_installed(
    package: str, target: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # importing it raises ImportError
    monkeypatch.chdir(tmp_path)
    for name in ("net.xml", "net.bin", "net.onnx"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ForeignError, match=told):
        loaded(target)


def test_nanodet_in_openvino(shared: Path) -> None:
    """Against what OpenVINO gave outside detzoo, decoded and suppressed as its authors do (see the plugin's tests)."""
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("openvino is not installed: pip install 'detzoo[openvino]'")
    oracle = Path(__file__).parents[2] / "plugins" / "detzoo-retinanet" / "tests" / "nanodet_m_openvino.npz"
    file = shared / "weights" / "nanodet-m-coco" / "nanodet_m.xml"
    options = ["preset=nanodet", "input.mean=[0, 0, 0]", "input.std=[1, 1, 1]"]  # normalisation is inside the file
    program = loaded(file, options)
    assert list(program.names) == COCO
    stored = np.load(oracle)
    photos = [name for name in stored.files if name.endswith(".jpg")]
    assert len(photos) == 8
    total = 0
    for name in photos:
        image = read_image(shared / "data" / "coco128" / "images" / "val2017" / name)
        (found,) = as_arrays(program([image]), 1)
        expected = stored[name]
        assert len(found.scores) == len(expected)
        np.testing.assert_allclose(found.scores, expected[:, 4], atol=1e-3)
        for row in expected:
            alike = (np.abs(found.scores - row[4]) < 1e-3) & (found.labels == row[5])
            assert np.abs(found.boxes[alike] - row[:4]).max(1).min() < 0.1  # px
        total += len(expected)
    assert total > 50


def test_openvino_s_weights_lie_beside_it(tmp_path: Path) -> None:
    (tmp_path / "net.xml").write_text("<net/>")
    with pytest.raises(ForeignError, match=r"its weights are missing: .*net\.bin must lie beside it"):
        load_foreign(tmp_path / "net.xml")


def test_rfdetr_through_a_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package needs 2 GB: a module with the part of its interface that is read, COCO's category ids among it."""
    (tmp_path / "rfdetr.py").write_text(
        "import types, numpy as np\n"
        "class RFDETRNano:\n"
        "    def predict(self, image, threshold):\n"
        "        assert image.size == (40, 30) and threshold == 0\n"
        "        return types.SimpleNamespace(xyxy=np.array([[-1, 2, 99, 9.0]]), confidence=np.array([0.5]),"
        " class_id=np.array([18]))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    program = loaded("rfdetr:nano")
    ((boxes, scores, labels),) = program(images((30, 40)))
    assert (boxes.tolist(), scores.tolist()) == ([[0, 2, 40, 9]], [0.5])
    assert program.names[labels[0]] == "dog"
    with pytest.raises(ForeignError, match='unknown detector of rfdetr "nan"; did you mean "nano"'):
        loaded("rfdetr:nan")
    monkeypatch.delitem(sys.modules, "rfdetr")
