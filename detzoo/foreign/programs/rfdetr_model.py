"""``rfdetr:NAME``: a detector of Roboflow's package, where that is installed."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image as Pillow

from detzoo.foreign.errors import ForeignError
from detzoo.foreign.options import ForeignOptions
from detzoo.foreign.protocol import Found, Image
from detzoo.recipes.class_names import SETS
from detzoo.schema.describing import unknown

_PREFIX = "RFDETR"


class RfdetrModel:
    """One of the package's classes: ``rfdetr:nano`` is ``rfdetr.RFDETRNano``.

    Args:
        name: as the package has it, without ``RFDETR``, in any case.
        options: ``weights``: a checkpoint of the package, which the package itself reads; ``classes``: its names.

    Raises:
        ForeignError: the package is not installed, or has no such detector.
    """

    def __init__(self, name: str, options: ForeignOptions) -> None:
        try:
            package = importlib.import_module("rfdetr")
        except ImportError as error:
            if error.name not in (None, "rfdetr"):
                raise
            raise ForeignError("rfdetr: needs Roboflow's package: pip install rfdetr") from None
        known = {one.removeprefix(_PREFIX).lower(): one for one in dir(package) if one.startswith(_PREFIX)}
        chosen = known.get(name.lower().removeprefix(_PREFIX.lower()))
        if chosen is None or name == "":
            raise ForeignError(unknown("detector of rfdetr", name, [one for one in known if one]))
        given = {} if options.weights is None else {"pretrain_weights": options.weights}
        self.model = getattr(package, chosen)(**given)
        self.chosen, self.names = chosen, options.names or list(SETS["coco91"])

    def __call__(self, images: list[Image], /) -> Sequence[Found]:
        """What it finds; it counts COCO's category ids."""
        found = []
        for image in images:
            one = self.model.predict(Pillow.fromarray(image), threshold=0.0)
            height, width = image.shape[:2]
            boxes = np.minimum(np.maximum(one.xyxy, 0), [width, height, width, height])
            found.append((boxes, one.confidence, one.class_id))
        return found

    def describe(self) -> dict[str, Any]:
        """Its class."""
        return {"kind": "rfdetr", "model": self.chosen}
