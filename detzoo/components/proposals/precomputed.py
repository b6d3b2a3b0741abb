"""Regions that were computed beforehand and lie in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from detzoo.data.proposal_file import ProposalFile, ProposalsError, picture_key
from detzoo.interfaces import Proposer


class Precomputed(Proposer):
    """Looks a picture up by its pixels in a file of proposals.

    The file is opened when the first picture comes, so a recipe can be listed, shown, built and converted without it.

    Args:
        path: a file as ``detzoo.data.proposal_file.write_proposals`` writes it, relative to where the command runs;
            null: none yet.
        top_k: the best of the file for each picture; null for all.
    """

    def __init__(self, *, path: str | None = None, top_k: Annotated[int, Field(gt=0)] | None = None) -> None:
        self.path, self.top_k = path, top_k
        self._file: ProposalFile | None = None

    def __call__(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Boxes [P,4] and scores [P] of a picture uint8 [H,W,3].

        Raises:
            ProposalsError: no file is named, it is none, or it does not know the picture.
        """
        if self._file is None:
            self._file = self._opened()
        key = picture_key(image)
        found = self._file.regions(key, self.top_k)
        if found is None:
            raise ProposalsError(
                f"{self.path} holds no proposals for this picture of {image.shape[1]} x {image.shape[0]} px: it knows "
                f"{len(self._file)} pictures ({self._file.method}), by their decoded pixels. Write a file of all "
                "pictures you use with detzoo.data.proposal_file.write_proposals, here and with the same image "
                "library, and name it: --set proposals.proposer.path=FILE"
            )
        return found

    def _opened(self) -> ProposalFile:
        if self.path is None:
            raise ProposalsError(
                "this detector looks at proposals from a file, and none is named: write one with "
                "detzoo.data.proposal_file.write_proposals, and name it with --set proposals.proposer.path=FILE; to "
                "try the detector without: --set proposals.proposer.type=uniform"
            )
        return ProposalFile(Path(self.path).expanduser())

    def __getstate__(self) -> dict[str, Any]:
        """Workers and copies open the file themselves."""
        return self.__dict__ | {"_file": None}
