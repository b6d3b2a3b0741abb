"""Draws the block diagrams of the architectures: ``python docs/images/make_diagrams.py`` rewrites the SVG files here.

A diagram is a title, blocks and arrows. A block is ``id column row kind title | line below``; an arrow is
``from > to | label``, or ``from ~ to`` for what happens in training alone. The card is white in light and dark pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

HERE = Path(__file__).parent
FILL = {"net": "#dcecf9", "pool": "#ece4f7", "detect": "#dff3e3", "train": "#fdebd0", "value": "#ffffff"}
LEGEND = {
    "net": "network",
    "pool": "pooling, a field of the head",
    "detect": "detection",
    "train": "training alone",
    "value": "values, or from outside the network",
}
WIDTH, HEIGHT, STEP, ROW, MARGIN, TOP = 152, 54, 190, 92, 22, 58

TAIL = """
post 5 0 detect PostProcess | {post}
out 6 0 value Detections | boxes, scores, labels
image > backbone
backbone > neck
neck > head
head > post
post > out
head ~ matcher
matcher ~ sampler
sampler ~ loss
"""
ONE_STAGE = (
    """
image 0 0 value ImageBatch | [B,3,H,W]
sampler 4 1 train Sampler | all
"""
    + TAIL
)
FAST = """
image 0 0 value ImageBatch | [B,3,H,W]
backbone 1 0 net Backbone | {backbone}
neck 2 0 net Neck | {neck}
pool 3 0 pool RoiPool | {pool}
head 4 0 net Head | {head}
post 5 0 detect PostProcess | detections: nms
out 6 0 value Detections | boxes, scores, labels
matcher 4 1 train Matcher | max_iou
sampler 5 1 train Sampler | {sampler}
loss 6 1 train Loss | {loss}
image > backbone
backbone > neck
neck > pool
pool > head
head > post
post > out
head ~ matcher
matcher ~ sampler
sampler ~ loss
"""
RPN = """
rpn 1 2 net Head | rpn: Anchors, BoxCoder
regions 2 2 detect PostProcess | regions: nms 0.7
candidates 3 2 value Candidates | P regions per image
rpnmatch 1 3 train Matcher | max_iou 0.7 / 0.3
rpnsample 2 3 train Sampler | 256, half positive
rpnloss 3 3 train Loss | objectness and box
neck > rpn
rpn > regions
regions > candidates
candidates > pool
rpn ~ rpnmatch
rpnmatch ~ rpnsample
rpnsample ~ rpnloss
"""
MASK = """
maskpool 4 2 pool RoiPool | 14 x 14, Neck's maps
mask 5 2 net Head | roi_mask: K of 28 x 28
paste 6 2 detect paste | half_pixel or integer
maskloss 5 3 train Loss | mask_bce, positives
maskpool > mask
mask > paste
mask ~ maskloss
out > maskpool
"""
REGION = """
image 0 0 value ImageBatch | [B,3,H,W]
regions 0 1 value Proposer | selective_search
{blocks}
svm 4 0 detect RegionClassifier | linear_svm on fc7
ridge 4 1 detect RegionRegressor | ridge on pool5
post 5 0 detect PostProcess | detections: nms 0.3
out 6 0 value Detections | boxes, scores, labels
matcher 1 2 train Matcher | max_iou 0.5
sampler 2 2 train Sampler | a quarter positive
loss 3 2 train ClassLoss | cross_entropy
head > svm
head > ridge
svm > post
ridge > post
post > out
regions ~ matcher
matcher ~ sampler
sampler ~ loss
"""


def fast(pool: str, head: str, sampler: str, loss: str, *, backbone: str, neck: str = "identity") -> str:
    """The row that every two-stage detector has."""
    return FAST.format(backbone=backbone, neck=neck, pool=pool, head=head, sampler=sampler, loss=loss)


def one_stage(backbone: str, neck: str, head: str, matcher: str, loss: str, *, post: str = "detections: nms") -> str:
    """The rows of a one-stage detector."""
    blocks = f"""
backbone 1 0 net Backbone | {backbone}
neck 2 0 net Neck | {neck}
head 3 0 net Head | {head}
matcher 3 1 train Matcher | {matcher}
loss 5 1 train Loss | {loss}
"""
    return blocks + ONE_STAGE.format(post=post).replace("post 5 0", "post 4 0").replace("out 6 0", "out 5 0")


SET = "top_k: no suppression"

DIAGRAMS: dict[str, tuple[str, str]] = {
    "rcnn": (
        "R-CNN: the network runs once for each window",
        REGION.format(
            blocks="""
pool 1 0 pool RoiPool | warp: 227 x 227 px
backbone 2 0 net Backbone | caffenet, each window
head 3 0 net RegionHead | region_fc: fc6, fc7
image > pool
regions > pool
pool > backbone
backbone > head"""
        ),
    ),
    "sppnet": (
        "SPP-net: the convolutions run once for each image",
        REGION.format(
            blocks="""
backbone 1 0 net Backbone | zf5, frozen
pool 2 0 pool RoiPool | spatial_pyramid 6 3 2 1
head 3 0 net RegionHead | region_fc: fc6, fc7
image > backbone
backbone > pool
regions > pool
pool > head"""
        ),
    ),
    "fast-rcnn": (
        "Fast R-CNN: one network, trained at once, on regions from outside",
        fast("roi_pool 7 x 7", "roi_box", "a quarter positive", "multibox", backbone="vgg16")
        + "regions 0 1 value Proposer | selective_search\nregions > pool",
    ),
    "faster-rcnn": (
        "Faster R-CNN: the regions come from the same maps",
        fast("roi_pool 7 x 7", "roi_box", "128, a quarter positive", "multibox", backbone="vgg16") + RPN,
    ),
    "mask-rcnn": (
        "Mask R-CNN: RoIAlign, and a mask for each final box",
        fast("roi_align 7 x 7", "roi_box", "512, a quarter positive", "multibox", backbone="resnet101", neck="fpn")
        + RPN
        + MASK,
    ),
    "rfcn": (
        "R-FCN: regions vote on maps of the whole image",
        fast("ps_roi_pool 7 x 7", "rfcn: score maps", "all", "rfcn: OHEM 128", backbone="resnet101, dilated") + RPN,
    ),
    "yolov1": (
        "YOLOv1: one grid, one look",
        one_stage("darknet", "identity", "yolo_grid: 7 x 7 x 2", "grid_responsible", "yolo_sse"),
    ),
    "yolov2": (
        "YOLOv2: anchors on one map",
        one_stage("darknet (19)", "passthrough", "yolo_anchor: 5", "yolo_best_anchor", "yolo_anchor"),
    ),
    "yolov3": (
        "YOLOv3: three scales",
        one_stage("darknet (53)", "darknet: s8, s16, s32", "yolo_anchor: 3 per map", "yolo_best_anchor", "yolo_anchor"),
    ),
    "ssd": (
        "SSD: priors on six maps",
        one_stage("vgg16_ssd", "ssd_extra: 6 maps", "ssd: ssd_priors", "ssd_bipartite", "multibox, hard_negative"),
    ),
    "retinanet": (
        "RetinaNet: a pyramid, shared towers, focal loss",
        one_stage("resnet50", "fpn: P3 to P7", "retinanet: 9 per cell", "max_iou 0.5 / 0.4", "multibox, focal"),
    ),
    "fcos": (
        "FCOS: no anchors, four distances and a centreness",
        one_stage("resnet50", "fpn: P3 to P7", "fcos: edges", "centre_sampling", "fcos: focal, giou"),
    ),
    "nanodet": (
        "NanoDet: GFL made small",
        one_stage("shufflenet_v2", "nanodet_pan: sums", "nanodet: 8 bins", "atss", "quality_multibox"),
    ),
    "yolox": (
        "YOLOX: no anchors, classes and boxes apart, cells chosen by what they predict",
        one_stage("csp_darknet", "csp_pafpn: P3 to P5", "yolox: decoupled", "simota", "yolox: iou, objectness"),
    ),
    "rtmdet": (
        "RTMDet: large kernels, one score, soft labels",
        one_stage("csp_next", "csp_pafpn", "rtmdet_sep_bn: edges", "dynamic_soft_label", "quality_multibox"),
    ),
    "detr": (
        "DETR: a set of boxes, one query for each object",
        one_stage("resnet50: s32", "identity", "detr: 100 queries", "hungarian: one to one", "set: L1, GIoU", post=SET),
    ),
    "deformable-detr": (
        "Deformable DETR: cells and queries read a few points of four maps",
        one_stage(
            "resnet50: s8 to s32",
            "identity",
            "deformable_detr",
            "hungarian: one to one",
            "set: focal, L1, GIoU",
            post=SET,
        ),
    ),
    "rtdetr": (
        "RT-DETR: the best cells as queries, attention between cells on the coarsest map alone",
        one_stage("resnet_vd", "hybrid_encoder", "rtdetr: 300 cells", "hungarian", "set: varifocal", post=SET),
    ),
    "dfine": (
        "D-FINE: each layer corrects the distributions of a box's edges",
        one_stage("hgnet_v2", "dfine_encoder", "dfine: 33 bins per edge", "hungarian", "dfine: FGL, DDF", post=SET),
    ),
    "rf-detr": (
        "RF-DETR: a pretrained vision transformer, the best cells as queries, groups of them in training",
        one_stage(
            "dinov2: windows", "c2f_projector: one map", "rf_detr: query groups", "hungarian", "group_set", post=SET
        ),
    ),
    "two-stage": (
        "Where each interface sits in a two-stage detector",
        fast(
            "pool, align, ps_...", "roi_box, res5, rfcn", "ground truth appended", "multibox, rfcn", backbone="any"
        ).replace("Neck | identity", "Neck | identity, fpn")
        + RPN
        + MASK,
    ),
}


@dataclass(frozen=True)
class Block:
    """A box on the grid of the diagram."""

    column: int
    row: int
    kind: str
    title: str
    below: str

    @property
    def x(self) -> int:
        """Left edge."""
        return MARGIN + self.column * STEP

    @property
    def y(self) -> int:
        """Upper edge."""
        return TOP + self.row * ROW

    def drawn(self) -> str:
        """The box with its two lines of text."""
        middle = self.x + WIDTH / 2
        return (
            f'<rect x="{self.x}" y="{self.y}" width="{WIDTH}" height="{HEIGHT}" rx="7" fill="{FILL[self.kind]}" '
            f'stroke="#8795a1"/>\n{text(middle, self.y + 23, self.title, 15, 600)}\n'
            f"{text(middle, self.y + 42, self.below, 12.5, 400)}"
        )


def text(x: float, y: float, words: str, size: float, weight: int, anchor: str = "middle") -> str:
    """Words at a place; the bold ones are dark."""
    colour = "#1f2933" if weight == 600 else "#46525c"
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" fill="{colour}" '
        f'text-anchor="{anchor}">{escape(words)}</text>'
    )


def route(start: Block, end: Block) -> str:
    """Straight where it can be; else out to the right, then up or down; backwards through the lane between rows."""
    across, middle = start.y + HEIGHT / 2, end.y + HEIGHT / 2
    if start.row == end.row:
        return f"M{start.x + WIDTH} {across} L{end.x - 2} {middle}"
    if start.column == end.column:
        down = end.row > start.row
        arrival = end.y - 2 if down else end.y + HEIGHT + 2
        return f"M{start.x + WIDTH / 2} {start.y + HEIGHT * down} L{end.x + WIDTH / 2} {arrival}"
    if end.column > start.column:
        lane = end.x - 19
        return f"M{start.x + WIDTH} {across} L{lane} {across} L{lane} {middle} L{end.x - 2} {middle}"
    lane_y, lane_x = end.y - 19, start.x + WIDTH + 12
    return (
        f"M{start.x + WIDTH} {across} L{lane_x} {across} L{lane_x} {lane_y} "
        f"L{end.x + WIDTH / 2} {lane_y} L{end.x + WIDTH / 2} {end.y - 2}"
    )


def arrow(path: str, *, training: bool) -> str:
    """A path with a tip, dashed where it is walked in training alone."""
    dashes = ' stroke-dasharray="5 4"' if training else ""
    return f'<path d="{path}" fill="none" stroke="#1f2933" stroke-width="1.6"{dashes} marker-end="url(#tip)"/>'


def draw(title: str, description: str) -> str:
    """The SVG of one description."""
    blocks: dict[str, Block] = {}
    arrows: list[tuple[str, str, bool]] = []
    for line in filter(None, description.splitlines()):
        place, _, below = line.partition(" | ")
        words = place.split()
        if len(words) == 3 and words[1] in "<>~":
            arrows.append((words[0], words[2], words[1] == "~"))
        else:
            blocks[words[0]] = Block(int(words[1]), int(words[2]), words[3], " ".join(words[4:]), below)
    columns = 1 + max(block.column for block in blocks.values())
    rows = 1 + max(block.row for block in blocks.values())
    width, bottom = 2 * MARGIN + (columns - 1) * STEP + WIDTH + 14, TOP + rows * ROW
    parts = [text(MARGIN, 32, title, 17, 600, "start")]
    parts += [arrow(route(blocks[a], blocks[b]), training=training) for a, b, training in arrows]
    parts += [block.drawn() for block in blocks.values()]
    x = MARGIN
    for kind in [kind for kind in LEGEND if any(block.kind == kind for block in blocks.values())]:
        parts.append(
            f'<rect x="{x}" y="{bottom - 12}" width="20" height="14" rx="3" fill="{FILL[kind]}" stroke="#8795a1"/>'
        )
        parts.append(text(x + 27, bottom, LEGEND[kind], 13, 400, "start"))
        x += 52 + 7 * len(LEGEND[kind])
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {bottom + 20}" \
font-family="Helvetica, Arial, sans-serif" role="img" aria-label="{escape(title)}">
<title>{escape(title)}</title>
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">\
<path d="M0 0L8 4L0 8z" fill="#1f2933"/></marker></defs>
<rect width="{width}" height="{bottom + 20}" rx="10" fill="#ffffff"/>
{chr(10).join(parts)}
</svg>
"""


def main() -> None:
    """Writes every diagram."""
    for name, (title, description) in DIAGRAMS.items():
        (HERE / f"{name}.svg").write_text(draw(title, description))


if __name__ == "__main__":
    main()
