"""Decoded, downscaled images in memory: for small sets on few cores, where decoding is what training waits for."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import cv2

from detzoo.data.dataset import Dataset
from detzoo.data.loading.resize import resize
from detzoo.errors import DataError
from detzoo.prediction.image_proposals import RegionCache, propose
from detzoo.types import Sample

MAX_BYTES = 8 * 2**30


class ImageCache:
    """A dataset's samples, each read once, with images no longer than ``longest_side``.

    Filled at once, before workers are forked, so that they share it. Downscaling before the detector's own resizing
    changes pixels a little: a setting for speed, off by default.

    Args:
        dataset: where the samples come from.
        longest_side: px.
        regions: image-level regions, made of the whole image, which then shrink with it; or None.
    """

    def __init__(self, dataset: Dataset, longest_side: int, regions: RegionCache | None = None) -> None:
        self.longest_side, self.regions = longest_side, regions
        need = len(dataset) * longest_side * longest_side * 3  # bytes, were all images square
        if need > MAX_BYTES:
            raise DataError(
                f"cache: {len(dataset)} images of {longest_side} px need up to {need / 2**30:.0f} GiB, "
                f"the limit is {MAX_BYTES // 2**30}: choose a smaller side, or 0 for no cache"
            )
        with ThreadPoolExecutor(2) as pool:  # threads: decoding lets go of the interpreter's lock
            self._kept = list(pool.map(lambda position: self._read(dataset, position), range(len(dataset))))

    def sample(self, position: int, *, masks: bool = True) -> Sample:
        """The sample, as ``Dataset.sample`` gives it, with its image downscaled; masks follow."""
        kept = self._kept[position]
        if isinstance(kept, str):
            raise DataError(kept)
        return kept if masks else dataclasses.replace(kept, masks=None)

    def _read(self, dataset: Dataset, position: int) -> Sample | str:
        try:
            sample = dataset.sample(position)
            if self.regions is not None:
                # at full size: methods depend on the resolution
                boxes = propose(self.regions.proposer, sample.image, sample.path)
                sample = dataclasses.replace(sample, proposals=boxes)
            return downscale(sample, self.longest_side)
        except DataError as error:
            return str(error)  # as text: raised again when this image is asked for


def downscale(sample: Sample, longest_side: int) -> Sample:
    """The sample with its image shrunk by area averaging until the longest side fits."""
    height, width = sample.image.shape[:2]
    factor = longest_side / max(height, width)
    if factor >= 1:
        return sample
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    return resize(sample, size, cv2.INTER_AREA)  # averaging: bilinear would alias
