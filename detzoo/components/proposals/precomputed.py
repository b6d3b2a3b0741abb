"""Regions that were computed beforehand and lie in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from detzoo.interfaces import Proposer
from detzoo.prediction.proposal_file import ProposalFile, ProposalsError, check_made_by, image_key

Plain = bool | int | float | str | None
Value = Plain | list[Plain] | list[list[Plain]] | dict[str, Plain]


class Precomputed(Proposer):
    """Looks an image up by its pixels in a file of proposals.

    The file is opened when the first image comes, so a recipe can be listed, shown, built and converted without it.

    Args:
        path: a file as ``detzoo proposals make`` writes it, relative to where the command runs; null: none yet.
        top_k: the best of the file for each image; null for all.
        method: what the file must have been made with; null: anything.
        parameters: what the file must say of these parameters of the method; those that are not named are free.
    """

    def __init__(
        self,
        *,
        path: str | None = None,
        top_k: Annotated[int, Field(gt=0)] | None = None,
        method: str | None = None,
        parameters: dict[str, Value] | None = None,
    ) -> None:
        self.path, self.top_k = path, top_k
        self.method, self.parameters = method, parameters
        self._file: ProposalFile | None = None

    def __call__(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Boxes [P,4] and scores [P] of an image uint8 [H,W,3].

        Raises:
            ProposalsError: no file is named, it is none, it was made with something else than the recipe says, or it
                does not know the image.
        """
        if self._file is None:  # not in the constructor: a recipe is built without its file
            self._file = self._opened()
        key = image_key(image)  # by pixels: paths change from machine to machine
        found = self._file.regions(key, self.top_k)
        if found is None:
            raise ProposalsError(
                f"{self.path} holds no proposals for this image of {image.shape[1]} x {image.shape[0]} px: it knows "
                f"{len(self._file)} images ({self._file.method}), by their decoded pixels. For images that are in "
                f"no dataset, name the method itself: --set proposals.proposer.type={self._file.method}. `detzoo "
                "proposals make` with the method and parameters of the file adds those of other data, here and with "
                "the same image library; another file is named with --set proposals.proposer.path=FILE "
                "(in Python: overrides)"
            )
        return found

    def _opened(self) -> ProposalFile:
        if self.path is None:
            raise ProposalsError(
                "this detector looks at proposals from a file, and none is named: write one with `detzoo proposals "
                "make --method METHOD --data DATA --out FILE`, and name it with --set proposals.proposer.path=FILE; "
                "to try the detector without: --set proposals.proposer.type=uniform (in Python: overrides)"
            )
        file = ProposalFile(Path(self.path).expanduser())
        wanted = self.parameters or {}
        check_made_by(
            file.path,
            (file.method, {name: file.parameters.get(name, "absent") for name in wanted}),
            (file.method if self.method is None else self.method, wanted),
            "The recipe says what the file must have been made with: name another file under proposals.proposer.path, "
            "or correct method and parameters next to it.",
        )
        return file

    def __getstate__(self) -> dict[str, Any]:
        """Workers and copies open the file themselves."""
        return self.__dict__ | {"_file": None}  # an open file cannot be pickled
