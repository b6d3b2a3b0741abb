"""Rows of the model-zoo tables: what others report, and the recipe that stands for each row."""

from __future__ import annotations

from typing import Final, NamedTuple

TIMED_ON: Final = "one CPU thread, batch 1, float32, untrained weights, images of noise"


class Tensorflow(NamedTuple):
    """A row of TensorFlow's table.

    Args:
        name: TensorFlow's.
        ms: per 600x600 image on a Titan X, pre- and post-processing included.
        ap: COCO mAP, rounded by TensorFlow; None where its cell is empty.
        recipe: that builds it here; None where none does.
        why_not: then.
    """

    name: str
    ms: float
    ap: float | None
    recipe: str | None
    why_not: str = ""


QUANTISED: Final = "trained with quantised arithmetic, which detzoo does not do; the network is that of "
TENSORFLOW: Final = (
    Tensorflow("ssd_mobilenet_v1_coco", 30, 21, "ssd_mobilenet_v1"),
    Tensorflow("ssd_mobilenet_v1_0.75_depth_coco", 26, 18, "ssd_mobilenet_v1_075"),
    Tensorflow("ssd_mobilenet_v1_quantized_coco", 29, 18, None, QUANTISED + "`ssd_mobilenet_v1`"),
    Tensorflow("ssd_mobilenet_v1_0.75_depth_quantized_coco", 29, 16, None, QUANTISED + "`ssd_mobilenet_v1_075`"),
    Tensorflow("ssd_mobilenet_v1_ppn_coco", 26, 20, None, "no neck here pools its levels out of one map (PPN)"),
    Tensorflow("ssd_mobilenet_v1_fpn_coco", 56, 32, "ssd_mobilenet_v1_fpn"),
    Tensorflow("ssd_resnet_50_fpn_coco", 76, 35, "ssd_resnet50_v1_fpn"),
    Tensorflow("ssd_mobilenet_v2_coco", 31, 22, "ssd_mobilenet_v2"),
    Tensorflow("ssd_mobilenet_v2_quantized_coco", 29, 22, None, QUANTISED + "`ssd_mobilenet_v2`"),
    Tensorflow("ssdlite_mobilenet_v2_coco", 27, 22, "ssdlite300_mobilenet_v2"),
    Tensorflow("ssd_inception_v2_coco", 42, 24, "ssd_inception_v2"),
    Tensorflow("faster_rcnn_inception_v2_coco", 58, 28, "fasterrcnn_inception_v2_coco"),
    Tensorflow("faster_rcnn_resnet50_coco", 89, 30, "fasterrcnn_resnet50_coco"),
    Tensorflow("faster_rcnn_resnet50_lowproposals_coco", 64, None, "fasterrcnn_resnet50_coco_lowproposals"),
    Tensorflow("rfcn_resnet101_coco", 92, 30, "rfcn_resnet101_coco"),
    Tensorflow("faster_rcnn_resnet101_coco", 106, 32, "fasterrcnn_resnet101_coco"),
    Tensorflow("faster_rcnn_resnet101_lowproposals_coco", 82, None, "fasterrcnn_resnet101_coco_lowproposals"),
    Tensorflow("faster_rcnn_inception_resnet_v2_atrous_coco", 620, 37, "fasterrcnn_inception_resnet_v2_atrous_coco"),
    Tensorflow(
        "faster_rcnn_inception_resnet_v2_atrous_lowproposals_coco",
        *(241, None, "fasterrcnn_inception_resnet_v2_atrous_coco_lowproposals"),
    ),
    Tensorflow("faster_rcnn_nas", 1833, 43, "fasterrcnn_nas_coco"),
    Tensorflow("faster_rcnn_nas_lowproposals_coco", 540, None, "fasterrcnn_nas_coco_lowproposals"),
    Tensorflow("mask_rcnn_inception_resnet_v2_atrous_coco", 771, 36, "maskrcnn_inception_resnet_v2_atrous_coco"),
    Tensorflow("mask_rcnn_inception_v2_coco", 79, 25, "maskrcnn_inception_v2_coco"),
    Tensorflow("mask_rcnn_resnet101_atrous_coco", 470, 33, "maskrcnn_resnet101_atrous_coco"),
    Tensorflow("mask_rcnn_resnet50_atrous_coco", 343, 29, "maskrcnn_resnet50_atrous_coco"),
)
TENSORFLOW_MOBILE: Final = (
    Tensorflow("ssd_mobiledet_cpu_coco", 113, 24.0, None, "neither torchvision nor timm has MobileDet"),
    Tensorflow("ssd_mobilenet_v2_mnasfpn_coco", 183, 26.6, None, "no MnasFPN among the necks"),
    Tensorflow("ssd_mobilenet_v3_large_coco", 119, 22.6, "ssdlite320_mobilenet_v3_large"),
    Tensorflow("ssd_mobilenet_v3_small_coco", 43, 15.4, "ssdlite320_mobilenet_v3_small"),
)
"""Times of these are on one thread of a Pixel 1."""

TORCHVISION: Final = {
    "fasterrcnn_resnet50_fpn": "FasterRCNN_ResNet50_FPN_Weights",
    "fasterrcnn_resnet50_fpn_v2": "FasterRCNN_ResNet50_FPN_V2_Weights",
    "fasterrcnn_mobilenet_v3_large_fpn": "FasterRCNN_MobileNet_V3_Large_FPN_Weights",
    "fasterrcnn_mobilenet_v3_large_320_fpn": "FasterRCNN_MobileNet_V3_Large_320_FPN_Weights",
    "maskrcnn_resnet50_fpn": "MaskRCNN_ResNet50_FPN_Weights",
    "maskrcnn_resnet50_fpn_v2": "MaskRCNN_ResNet50_FPN_V2_Weights",
    "retinanet_resnet50_fpn": "RetinaNet_ResNet50_FPN_Weights",
    "retinanet_resnet50_fpn_v2": "RetinaNet_ResNet50_FPN_V2_Weights",
    "fcos_resnet50_fpn": "FCOS_ResNet50_FPN_Weights",
    "ssd300_vgg16": "SSD300_VGG16_Weights",
    "ssdlite320_mobilenet_v3_large": "SSDLite320_MobileNet_V3_Large_Weights",
}
"""Builder, which is also the recipe's name -> its weights, whose metadata are torchvision's table."""


class Voc(NamedTuple):
    """A row of the papers' table on VOC: its AP stands in the recipe.

    Args:
        label: the method.
        recipe: that builds it here.
        speed: as reported; empty where no source at hand says it.
        source: of the speed, as it was read there.
    """

    label: str
    recipe: str
    speed: str = ""
    source: str = ""


VOC: Final = (
    Voc("R-CNN, AlexNet", "rcnn_caffenet_voc", "13 s", "arXiv 1311.2524v5, section 2.2, GPU"),
    Voc("R-CNN, VGG16", "rcnn_vgg16_voc", "47 s", "arXiv 1504.08083v2, table 4, K40"),
    Voc(
        "SPP-net, ZF-5",
        "sppnet_zf5_voc",
        "0.382 s (five scales), 0.142 s (one)",
        "arXiv 1406.4729, section 4.3, without proposals, GPU",
    ),
    Voc(
        "Fast R-CNN, CaffeNet", "fastrcnn_caffenet_voc", "0.10 s without proposals", "arXiv 1504.08083v2, table 4, K40"
    ),
    Voc("Fast R-CNN, VGG16", "fastrcnn_vgg16_voc", "0.32 s without proposals", "arXiv 1504.08083v2, table 4, K40"),
    Voc(
        "Fast R-CNN, VGG16, SVD",
        "fastrcnn_vgg16_voc_svd",
        "0.22 s without proposals",
        "arXiv 1504.08083v2, table 4, K40",
    ),
    Voc("Faster R-CNN, ZF", "fasterrcnn_zf_voc_4step", "59 ms", "arXiv 1506.01497v3, table 5, K40"),
    Voc("Faster R-CNN, VGG16", "fasterrcnn_vgg16_voc_4step", "198 ms", "ShaoqingRen/faster_rcnn README, K40"),
    Voc("Faster R-CNN, VGG16, end to end", "fasterrcnn_vgg16_voc"),
    Voc("Faster R-CNN, ResNet-101", "fasterrcnn_resnet101_voc", "0.42 s", "arXiv 1605.06409, table 3, K40"),
    Voc("R-FCN, ResNet-50", "rfcn_resnet50_voc", "0.12 s", "daijifeng001/R-FCN README, K40"),
    Voc("R-FCN, ResNet-101", "rfcn_resnet101_voc", "0.17 s", "daijifeng001/R-FCN README, K40"),
    Voc("YOLO", "yolov1_voc", "45 fps", "arXiv 1506.02640v5, table 1, Titan X"),
    Voc("Fast YOLO", "yolov1_tiny_voc", "155 fps", "arXiv 1506.02640v5, table 1, Titan X"),
    Voc("YOLOv2", "yolov2_voc", "67 fps", "arXiv 1612.08242v1, table 3, Titan X"),
    Voc("SSD300", "ssd300_vgg16_voc", "46 fps", "weiliu89/caffe README, Titan X, batch 1"),
    Voc("SSD512", "ssd512_vgg16_voc", "19 fps", "weiliu89/caffe README, Titan X, batch 1"),
)

IMAGES: Final[dict[str, tuple[int, int]]] = {
    **{row.recipe: (600, 600) for row in (*TENSORFLOW, *TENSORFLOW_MOBILE) if row.recipe is not None},
    **{row.recipe: (375, 500) for row in VOC},
    **dict.fromkeys(TORCHVISION, (512, 512)),
}
"""(height, width) px of the image that each recipe is measured on: those of the tables, and VOC's usual size."""
WINDOWS: Final = {"rcnn_caffenet_voc": 20, "rcnn_vgg16_voc": 20}
"""R-CNN sends every window through the network, so that 2,000 of them take 100 times what is counted for these."""
