"""What LVIS adds to COCO's JSON: which classes were looked for in each image, and how frequent each class is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from detzoo.data.checking.problems import Problems
from detzoo.data.formats.federated import FREQUENCIES, NEGATIVE, NOT_EXHAUSTIVE, Federated, LabelLists
from detzoo.data.formats.values import as_id, shown


class LvisFacts:
    """The federated facts of a file, image by image.

    Args:
        path: of the file.
        problems: gets every defect.
        line: finds the line of the n-th entry of a list; None where lines are left out.
        label_of: label by category id; None for categories that are left out on purpose.
    """

    def __init__(
        self,
        path: Path,
        problems: Problems,
        line: Callable[[str, int], int | None],
        label_of: Mapping[int | str, int | None],
    ) -> None:
        self.path, self.problems, self.line, self.label_of = path, problems, line, label_of
        self.negative: list[list[int]] = []
        self.not_exhaustive: list[list[int]] = []

    def image(self, row: int, entry: dict[str, Any]) -> None:
        """Note what an image's entry says; the images come in the order of the index."""
        self.negative.append(self._labels(row, entry, NEGATIVE))
        self.not_exhaustive.append(self._labels(row, entry, NOT_EXHAUSTIVE))

    def build(self, categories: Sequence[Any], labels: int) -> Federated:
        """All images, and the frequencies of the classes.

        Args:
            categories: the entries of the file.
            labels: how many classes are read.
        """
        frequencies = [""] * labels
        for row, entry in enumerate(categories):
            own = as_id(entry.get("id"))
            label = None if own is None else self.label_of.get(own)
            stated = entry.get("frequency")
            if label is None or stated is None:
                continue
            if stated in FREQUENCIES:
                frequencies[label] = stated
                continue
            text = f"category {own}: frequency must be r, c or f, not {shown(stated)}; in none of APr, APc, APf"
            self.problems.error("bad-frequency", self.path, self.line("categories", row), text)
        self._tell(frequencies)
        return Federated(LabelLists.of(self.negative), LabelLists.of(self.not_exhaustive), tuple(frequencies))

    def _labels(self, row: int, entry: dict[str, Any], key: str) -> list[int]:
        stated, name = entry.get(key), f"image {shown(entry.get('id'))}"
        if not isinstance(stated, list):
            found = "is missing" if stated is None else f"must be a list of category ids, not {shown(stated)}"
            self._bad(row, "bad-federated", f"{name}: {key} {found}; taken as empty")
            return []
        labels = []
        for value in stated:
            own = as_id(value)
            if own is None or own not in self.label_of:
                self._bad(row, "unknown-class", f"{name}: {key}: no category has the id {shown(value)}; left out")
                continue
            label = self.label_of[own]
            if label is not None and label not in labels:
                labels.append(label)
        return labels

    def _bad(self, row: int, code: str, message: str) -> None:
        self.problems.error(code, self.path, self.line("images", row), message)

    def _tell(self, frequencies: Sequence[str]) -> None:
        groups = ", ".join(
            f"{frequencies.count(key)} {word}"
            for key, word in zip(FREQUENCIES, ("rare", "common", "frequent"), strict=True)
        )
        text = (
            f"federated annotations (LVIS; {groups} classes): in each image only some classes were looked for. "
            "Evaluation counts these alone; training takes the others for background"
        )
        self.problems.info("federated", self.path, None, text)
