"""The two programs that count: pycocotools, and faster-coco-eval (an extra), silenced and made alike."""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

from detzoo.errors import DetzooError

Engine: TypeAlias = Literal["pycocotools", "faster"]


def engine_module(engine: Engine) -> tuple[Any, Any]:
    """(the module with COCO, the evaluator class): both are of the same design."""
    if engine == "pycocotools":
        return importlib.import_module("pycocotools.coco"), importlib.import_module("pycocotools.cocoeval").COCOeval
    if engine != "faster":
        raise DetzooError(f"evaluation engine {engine!r} is unknown; allowed: pycocotools, faster")
    try:
        package = importlib.import_module("faster_coco_eval")
    except ImportError as error:
        raise DetzooError(
            "evaluation engine 'faster' needs faster-coco-eval: pip install 'detzoo[faster]', or use engine pycocotools"
        ) from error
    return package, package.COCOeval_faster


def coco_object(engine: Engine, images: Any, categories: Any, annotations: Any) -> Any:
    """An engine's COCO object, made without its print-outs."""
    module, _ = engine_module(engine)
    with silence():
        made = module.COCO()
        made.dataset = {"info": {}, "images": images, "categories": categories, "annotations": annotations}
        made.createIndex()  # not loadRes: it refuses an empty list
    return made


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """pycocotools prints its progress; a library must not."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
