"""Pure functions on tensors: boxes, coding, anchors, suppression, matching, sampling."""

from detzoo.ops.nms import nms_keep, soft_nms

__all__ = ["nms_keep", "soft_nms"]
