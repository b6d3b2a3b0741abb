"""The card of a published run, written from what its files say; what they do not say is told as missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import yaml

NO_LICENCE: Final = (
    "No licence was given. Without one nobody may use these weights: ask their author. The data and any pretrained "
    "weights have terms of their own."
)


@dataclass(frozen=True)
class CardFacts:
    """What a card says.

    Args:
        repository: ``owner/name``.
        recipe: name of the recipe.
        architecture: as in the recipe.
        classes: names by label; None for outputs that are not used.
        trained_on: of ``weights_facts``; None if the checkpoint does not say.
        weights: the same facts in words.
        results: what ``results.json`` holds, or None.
        sha256: of the weights.
        versions: by package.
        licence: as the Hub writes it, ``apache-2.0``; None if none was given.
        image: name of the file with detections, or None.
    """

    repository: str
    recipe: str
    architecture: str
    classes: Sequence[str | None]
    trained_on: Mapping[str, Any] | None
    weights: str
    results: Mapping[str, Any] | None
    sha256: str
    versions: Mapping[str, str]
    licence: str | None
    image: str | None


def card(facts: CardFacts) -> str:
    """README.md of the repository: metadata of the Hub, then Markdown."""
    head: dict[str, Any] = {
        "library_name": "detzoo",
        "pipeline_tag": "object-detection",
        "tags": ["detzoo", "object-detection"],
    }
    if facts.licence is not None:
        head["license"] = facts.licence
    names = [name for name in facts.classes if name is not None]
    parts = [
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---",
        f"# {_plain(facts.repository.partition('/')[2])}",
        f"An object detector of [detzoo](https://pypi.org/project/detzoo/): recipe `{_plain(facts.recipe)}`, "
        f"meta-architecture `{_plain(facts.architecture)}`, {len(names)} classes: {', '.join(map(_plain, names))}.",
        f"```python\nimport detzoo\n\ndetector = detzoo.load(\"hf:{facts.repository}\")\n"
        'detections = detector.predict(["image.jpg"], score_threshold=0.3)\n```',
    ]  # fmt: skip
    if facts.image is not None:
        parts.append(f"![Detections with a score of at least 0.3]({facts.image})")
    parts += [
        "## Data\n\n" + _data(facts.trained_on),
        "## Results\n\n" + _results(facts.results),
        f"## Weights\n\n`model.safetensors`, from {_plain(facts.weights)}. SHA-256 `{facts.sha256}`. Written by "
        + ", ".join(f"{name} {version}" for name, version in facts.versions.items())
        + ".",
        "## Licence\n\n" + (NO_LICENCE if facts.licence is None else f"{_plain(facts.licence)}, as its author says."),
    ]
    return "\n\n".join(parts) + "\n"


def _data(trained_on: Mapping[str, Any] | None) -> str:
    if trained_on is None:
        return "The checkpoint does not say which data it was trained on."
    return (
        f"Trained on {_plain(trained_on.get('name'))}, split {_plain(trained_on.get('split'))}: "
        f"{_plain(trained_on.get('images'))} images. Digest of the annotations: `{trained_on.get('annotations')}`."
    )


def _results(results: Mapping[str, Any] | None) -> str:
    if results is None:
        return "Not evaluated: no results.json was given."
    data, counts, protocol = results["data"], results["counts"], results["protocol"]
    lines = [
        f"On {_plain(data['name'])}, split {_plain(data['split'])}: {counts['images']} images, "
        f"{counts['annotations']} ground truths. In percent.",
        "",
        "| metric | value | interval |",
        "|---|---|---|",
    ]
    record = results.get("intervals") or {}
    for metric in ("AP", "AP50", "AP75"):
        value = results["metrics"].get(metric)
        if value is not None:
            lines.append(f"| {metric} | {100 * value:.1f} | {_interval(record, metric)} |")
    coco = protocol["coco"]
    lines += [
        "",
        f"Protocol: {_plain(protocol['engine'])}, IoU {_plain(coco['iou'])}, at most {coco['max_detections']} "
        f"detections per image, score threshold {protocol['score_threshold']}"
        + ("." if protocol["nms_iou"] is None else f", NMS IoU {protocol['nms_iou']}."),
    ]
    if record:
        lines.append(f"Intervals: {100 * record['level']:.0f} %, {_plain(record['method'])}.")
    lines += [f"Warning: {_plain(warning)}" for warning in results.get("warnings", ())]
    return "\n".join(lines)


def _interval(record: Mapping[str, Any], metric: str) -> str:
    """Of ``interval_record``; the cause where there is none."""
    ends = record.get("metrics", {}).get(metric)
    if ends is None:
        return "not computed"
    return "too few images" if "too_few" in ends else f"{100 * ends['low']:.1f} to {100 * ends['high']:.1f}"


def _plain(value: object) -> str:
    """Text of files, which may hold anything, as text in Markdown: one line, no markup, no HTML."""
    text = " ".join(str(value).split())
    return "".join(f"\\{letter}" if letter in "\\`*[]|<>#!" else letter for letter in text)
