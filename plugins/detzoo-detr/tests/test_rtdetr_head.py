"""RT-DETR's neck and head against transformers' models: every layer in float64, and the losses of one step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from oracle import relative
from rtdetr_oracle import CLASSES, SIZE, Given, NeckAndHead, image_batch, maps, ours, theirs
from torch import Tensor

from detzoo.components.normalisers import Positives
from detzoo.components.unreduced_losses import L1, Giou, Varifocal
from detzoo.detectors.one_stage import OneStage
from detzoo.interfaces import Detector
from detzoo.testing import targets
from detzoo.types import Candidates, Predictions, Targets
from detzoo_detr import rtdetr_head
from detzoo_detr.denoising import Noise
from detzoo_detr.loss import SetLoss
from detzoo_detr.matcher import Hungarian
from detzoo_detr.rtdetr_head import Decoder
from detzoo_detr.rtdetr_names import from_transformers
from detzoo_detr.transformer import Mlp

BOXES: list[list[tuple[float, float, float, float]]] = [
    [(10, 12, 70, 60), (80, 30, 150, 90), (30, 40, 50, 64)],
    [(100, 8, 156, 50)],
    [],
]
LABELS = [[1, 4, 0], [2], []]
VERSIONS = [(1, {}), (2, {}), (2, {"decoder_method": "discrete"})]


def same_weights(model: Any, **changes: Any) -> NeckAndHead:
    made = ours(**changes).double().eval()
    made.load_state_dict(from_transformers(without_backbone(model), made))  # type: ignore[arg-type]
    return made


def without_backbone(model: Any) -> dict[str, Tensor]:
    return {key: value for key, value in model.state_dict().items() if ".backbone." not in key}


def truth(images: int = 3) -> Targets:
    return targets(BOXES[:images], LABELS[:images], size=SIZE, padded=3)


def seen(made: NeckAndHead, images: int, given: Targets | None = None) -> tuple[Candidates, Predictions]:
    return made.head(made.neck(maps(images)), image_batch(images), given)


def labels_of(given: Targets) -> list[dict[str, Tensor]]:
    """As transformers wants them: classes, and cx, cy, w, h in fractions."""
    unit = torch.tensor([SIZE[1], SIZE[0], SIZE[1], SIZE[0]])
    found = []
    for boxes, names, valid in zip(given.boxes, given.labels, given.valid, strict=True):
        x1, y1, x2, y2 = boxes[valid].unbind(1)
        fractions = torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], 1).double() / unit
        found.append({"class_labels": names[valid], "boxes": fractions})
    return found


def logits(said: Predictions) -> Tensor:
    assert said.class_logits is not None
    return said.class_logits


@pytest.mark.parametrize(("version", "changes"), VERSIONS)
def test_every_layer_is_transformers(version: int, changes: dict[str, Any]) -> None:
    model = theirs(version, **changes)
    method = changes.get("decoder_method", "default")
    made = same_weights(model, decoder=Decoder(width=32, heads=4, layers=3, feedforward=40, method=method))
    model.model.backbone = Given(list(maps().values()))
    with torch.no_grad():
        expected = model(torch.zeros(2, 3, *SIZE, dtype=torch.float64), labels=labels_of(truth(2)))
        _, said = seen(made, 2, truth(2))
    layers = [one for one in said.aux if one.name.startswith("aux")]
    assert [one.name for one in layers] == ["aux0", "aux1"]
    for row, one in enumerate([*(layer.predictions for layer in layers), said]):
        assert relative(logits(one), expected.intermediate_logits[:, row]) < 1e-9, row
        assert relative(one.deltas[:, :, 0], expected.intermediate_reference_points[:, row]) < 1e-9, row
    (encoder,) = (one.predictions for one in said.aux if one.name == "encoder")
    assert relative(logits(encoder), expected.enc_topk_logits) < 1e-9
    assert relative(encoder.deltas[:, :, 0], expected.enc_topk_bboxes) < 1e-9


def test_an_image_alone_and_what_is_detected_while_training() -> None:
    made = same_weights(theirs())
    with torch.no_grad():
        _, together = seen(made, 2)
        _, alone = made.head(made.neck({name: one[1:] for name, one in maps(2).items()}), image_batch(1))
        _, trained = seen(made, 2, truth(2))
    assert together.aux == ()  # nobody asks
    assert relative(logits(alone)[0], logits(together)[1]) < 1e-12
    assert relative(logits(trained), logits(together)) < 1e-12
    assert relative(trained.deltas, together.deltas) < 1e-12


def test_changing_the_ground_truth_changes_no_matched_query() -> None:
    """No leak: whatever the denoising queries hold, the others' gradients and values are the same."""
    made = same_weights(theirs())
    found = []
    for given in (truth(2), targets([[(0, 0, 160, 96)], [(1, 1, 9, 9)] * 3], [[3], [0, 0, 0]], size=SIZE, padded=3)):
        features = {name: one.requires_grad_() for name, one in maps(2).items()}
        _, said = made.head(made.neck(features), image_batch(2), given)
        torch.autograd.backward(logits(said).sum() + said.deltas.sum())
        found.append([logits(said).detach(), *(one.grad for one in features.values())])
    for one, other in zip(*found, strict=True):
        assert one is not None
        assert other is not None
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


class Step(OneStage):
    """Losses of given maps."""

    def __init__(self, made: NeckAndHead) -> None:
        Detector.__init__(self)
        self.made, self.matcher, self.sampler = made, hungarian(), lambda assignment: assignment  # type: ignore[assignment]
        self.loss = set_loss()
        self.head = made.head

    def network(self, batch: Any, targets: Targets | None = None) -> tuple[Candidates, Predictions]:
        return seen(self.made, len(batch.pixels), targets)


def hungarian() -> Hungarian:
    return Hungarian(class_weight=2.0, distance_weight=5.0, overlap_weight=2.0, focal=True)


def set_loss() -> SetLoss:
    return SetLoss(
        classification=Varifocal(positives="label", weight_gradient=False),
        distance=L1(),
        overlap=Giou(),
        normaliser=Positives(scope="batch", at_least=1.0),
        class_divisor="objects",
        no_object_weight=1.0,
        target="iou",
    )


def renamed(losses: dict[str, Tensor]) -> dict[str, float]:
    """Ours under transformers' names."""
    found = {}
    for key, value in losses.items():
        place, _, kind = key.rpartition(".")
        kind = {"classification": "loss_vfl", "distance": "loss_bbox", "overlap": "loss_giou"}[kind]
        suffix = place.replace("aux", "_aux_").replace("dn", "_dn_").replace("encoder", "_aux_2")
        found[kind + suffix] = float(value.detach())
    return found


def drawn(images: int, most: int, queries: int) -> tuple[Noise, int]:
    """What transformers draws after a seed, in its order, and how many queries it makes."""
    count = 2 * most * max(queries // most, 1)
    relabel = torch.rand(images, count)
    label = torch.randint(0, CLASSES, (images, count), dtype=torch.int32).long()
    sign = torch.randint(0, 2, (images, count, 4)).float() * 2 - 1
    return Noise(relabel, label, sign, torch.rand(images, count, 4)), count


@pytest.mark.parametrize("denoising", [True, False])
@pytest.mark.parametrize("images", [3, 2])
def test_losses_of_one_step(denoising: bool, images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = theirs(num_denoising=8)
    made = same_weights(model)
    if not denoising:
        made.head.noise = None
        model.config.num_denoising = 0
    model.model.backbone = Given(list(maps(images).values()))
    for part in model.modules():  # norms that are trained would see another batch than ours
        part.training = part is model or part is model.model
    torch.manual_seed(3)
    expected = model(torch.zeros(images, 3, *SIZE, dtype=torch.float64), labels=labels_of(truth(images)))
    torch.manual_seed(3)

    def same_noise(images: int, count: int, classes: int, *, like: Tensor) -> Noise:
        noise, used = drawn(images, 3, 8)
        assert used <= count
        behind = count - used
        wide = [torch.cat([one, one.new_zeros(images, behind, *one.shape[2:])], 1) for one in vars(noise).values()]
        return Noise(*wide)

    monkeypatch.setattr(rtdetr_head, "draw_noise", same_noise)
    detector = Step(made)
    found = renamed(detector.losses(image_batch(images), truth(images)))
    assert found.keys() == expected.loss_dict.keys()
    assert len(found) == 3 * (4 + 3 * denoising)
    for name, value in expected.loss_dict.items():
        assert found[name] == pytest.approx(float(value.detach()), rel=2e-6), name


@pytest.mark.parametrize("look_forward_twice", [True, False])
def test_gradients_reach_the_layer_before_or_not(look_forward_twice: bool) -> None:
    made = ours(look_forward_twice=look_forward_twice, denoising=None).double()
    torch.manual_seed(0)
    _, said = seen(made, 2, truth(2))
    torch.autograd.backward(said.deltas.sum())
    reached = []
    for boxes in made.head.boxes:
        assert isinstance(boxes, Mlp)
        gradient = boxes[-1].bias.grad
        reached.append(isinstance(gradient, Tensor) and bool(gradient.any()))
    assert reached == [False, look_forward_twice, True]
