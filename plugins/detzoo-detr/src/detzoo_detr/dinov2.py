"""DINOv2: a vision transformer as a backbone, with attention inside windows in most of its layers.

Letters: B images, h w patches of the image, W windows, T tokens of a window (a class token and its patches), F width.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Final

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from detzoo.components.backbones.feature_extractor import check_levels
from detzoo.errors import RecipeError
from detzoo.interfaces import Backbone, Normalisation
from detzoo.ops.state_dict import by_rules
from detzoo.types import FeatureMaps, FeatureSpec
from detzoo_detr.dinov2_names import DINOV2_RULES, split_qkv
from detzoo_detr.transformer import Attention

Count = Annotated[int, Field(ge=1, le=4096)]
START_STD: Final = 0.02
"""Of the truncated normal distribution from which weights start, as in DINOv2."""


class DinoV2(Backbone):
    """Patches, cut into windows, through layers of attention; the maps after some of the layers.

    Layers attend inside each window; ``global_layers`` attend over the whole image. Each window has a class token of
    its own, a copy at first. All maps have one stride, and one norm, which they share.

    Args:
        input_size: (height, width) px, where fixed.
        levels: ``layer3`` is the map after three layers. Layers behind the last one do not exist.
        width: F: 384 in DINOv2's small network, 768 in its base, 1,024 in its large.
        depth: layers of the published network, which ``levels`` may name: 12, 12, 24.
        heads: of attention: 6, 12, 16.
        patch: its side in px; 14 in DINOv2's own files, 16 in RF-DETR's.
        positions: side in patches of the square table of position vectors. Images with other numbers of patches get
            it resampled (bicubic, antialiased).
        windows: on each axis; 1: every layer attends over the whole image, as DINOv2's do.
        global_layers: layers, counted from 0, that attend over the whole image.
        expansion: width of the layers' hidden part, in F.
        layer_scale: with which the scales of the layers' two parts start.
        norm_eps: of all norms.

    Sides that are not a multiple of ``patch * windows`` are padded with zeros at the right and at the bottom.

    Source: Oquab et al. 2023 (arXiv:2304.07193), its code and weights under Apache-2.0; windows: Robinson et al. 2025
    (RF-DETR, arXiv:2511.09554), section 3, after Li et al. 2022 (ViTDet). RF-DETR counts global layers from 0 and maps
    by layers passed, so that a map leaves before the global layer of its number; so do these. Difference: RF-DETR
    takes rows for columns where it cuts windows, which shows in images that are not square only.
    """

    name: ClassVar[str] = "dinov2"
    expects = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # of its ImageNet pretraining, and RF-DETR

    def __init__(
        self,
        input_size: tuple[int, int] | None = None,
        /,
        *,
        levels: tuple[str, ...] = ("layer3", "layer6", "layer9", "layer12"),
        width: Count = 384,
        depth: Annotated[int, Field(ge=1, le=64)] = 12,
        heads: Count = 6,
        patch: Annotated[int, Field(ge=1, le=64)] = 16,
        positions: Annotated[int, Field(ge=1, le=256)] = 24,
        windows: Annotated[int, Field(ge=1, le=16)] = 2,
        global_layers: tuple[int, ...] = (3, 6, 9),
        expansion: Annotated[float, Field(gt=0, le=16)] = 4.0,
        layer_scale: float = 1.0,
        norm_eps: Annotated[float, Field(ge=0)] = 1e-6,
    ) -> None:
        super().__init__()
        check_levels("backbone dinov2", levels, [f"layer{row + 1}" for row in range(depth)])
        if width % heads:
            raise RecipeError(f"width: {width} must be a multiple of heads, {heads}")
        wrong = [row for row in global_layers if not 0 <= row < depth]
        if wrong:
            raise RecipeError(f"global_layers: there is no layer {wrong[0]}; layers are 0 to {depth - 1}")
        self.patch, self.windows = patch, windows
        self.level_after = {int(level.removeprefix("layer")): level for level in levels}
        count = max(self.level_after)
        self.reach = tuple(windows**2 if row in global_layers else 1 for row in range(count))
        self.patches = nn.Conv2d(3, width, patch, stride=patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, 1 + positions**2, width))
        self.layers = nn.ModuleList(
            Layer(width=width, heads=heads, hidden=max(int(width * expansion), 1), scale=layer_scale, norm_eps=norm_eps)
            for _ in range(count)
        )
        self.out_norm = nn.LayerNorm(width, eps=norm_eps)
        # what published files also have: the mask of their pretraining, a classifier, layers behind the last
        self.classifier_keys = ("mask_token", "head.*", *(f"layers.{row}.*" for row in range(count, depth)))
        self._start()
        size = None if input_size is None else (-(-input_size[0] // patch), -(-input_size[1] // patch))
        self.out = {level: FeatureSpec(width, float(patch), size) for level in levels}

    @torch.no_grad()
    def _start(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=START_STD)
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        for parameter in (self.class_token, self.positions):
            nn.init.trunc_normal_(parameter, std=START_STD)

    def forward(self, pixels: Tensor) -> FeatureMaps:
        """Maps by level, in the order of the layers: [B,F,ceil(H / patch),ceil(W / patch)]."""
        height, width = pixels.shape[-2:]
        tokens, grid = self.embed(pixels)  # [B,1+h*w,F]
        tokens = into_windows(tokens, grid, self.windows)  # [B*W,T,F]
        maps: FeatureMaps = {}
        for row, layer in enumerate(self.layers):
            tokens = layer(tokens, self.reach[row])
            if row + 1 in self.level_after:
                found = out_of_windows(self.out_norm(tokens), grid, self.windows)
                maps[self.level_after[row + 1]] = found[..., : -(-height // self.patch), : -(-width // self.patch)]
        return maps

    def embed(self, pixels: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Class token and patches with their positions, float [B,1+h*w,F], and (h, w)."""
        side = self.patch * self.windows
        below, right = -pixels.shape[-2] % side, -pixels.shape[-1] % side
        if below or right:
            pixels = functional.pad(pixels, (0, right, 0, below))
        patches = self.patches(pixels)  # [B,F,h,w]
        grid = (patches.shape[-2], patches.shape[-1])
        rows = torch.cat([self.class_token.expand(len(patches), -1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
        return rows + positions_of(self.positions, grid), grid

    def adapt_weights(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The names of DINOv2's own files (timm's too), or of transformers' ``Dinov2Model``, in ours."""
        return {by_rules(DINOV2_RULES, key) or key: value for key, value in split_qkv(state).items()}


class Layer(nn.Module):
    """Attention and a hidden layer with GELU; each normalises its input, and is added to it after a learned scale.

    Args:
        width: F.
        heads: of attention.
        hidden: width of the hidden layer.
        scale: with which the scales start.
        norm_eps: of the norms.
    """

    def __init__(self, *, width: int, heads: int, hidden: int, scale: float, norm_eps: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=norm_eps), nn.LayerNorm(width, eps=norm_eps)
        self.attention = Attention(width=width, heads=heads, dropout=0.0)
        self.linear1, self.linear2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.scale1, self.scale2 = (nn.Parameter(torch.full((width,), scale)) for _ in range(2))

    def forward(self, tokens: Tensor, joined: int) -> Tensor:
        """Of [B*W,T,F] the same; ``joined`` windows that follow each other attend as one."""
        count, length, width = tokens.shape
        seen = self.norm1(tokens).view(count // joined, joined * length, width)
        tokens = tokens + self.scale1 * self.attention(seen, seen, seen).view(count, length, width)
        hidden = functional.gelu(self.linear1(self.norm2(tokens)))
        return tokens + self.scale2 * self.linear2(hidden)  # type: ignore[no-any-return]


def positions_of(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """The position vectors of a grid of patches.

    Args:
        table: float [1,1+s*s,F]: the class token's, then those of a square, row by row.
        grid: (h, w).

    Returns:
        float [1,1+h*w,F]; resampled in float32.
    """
    side = round((table.shape[1] - 1) ** 0.5)
    if grid == (side, side):
        return table
    square = table[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    resized = functional.interpolate(square.float(), grid, mode="bicubic", align_corners=False, antialias=True)
    return torch.cat([table[:, :1], resized.to(table.dtype).flatten(2).transpose(1, 2)], dim=1)


def into_windows(tokens: Tensor, grid: tuple[int, int], windows: int) -> Tensor:
    """Cut an image into ``windows`` x ``windows`` parts, each with the class token.

    Args:
        tokens: float [B,1+h*w,F].
        grid: (h, w), multiples of ``windows``.
        windows: on each axis.

    Returns:
        float [B*W,1+h*w/W,F], W = windows^2: the windows of an image follow each other row by row.
    """
    if windows == 1:
        return tokens
    batch, _, width = tokens.shape
    rows, columns = grid[0] // windows, grid[1] // windows
    cells = tokens[:, 1:].view(batch, windows, rows, windows, columns, width).transpose(2, 3)
    cells = cells.reshape(batch * windows**2, rows * columns, width)
    return torch.cat([tokens[:, :1].repeat_interleave(windows**2, dim=0), cells], dim=1)


def out_of_windows(tokens: Tensor, grid: tuple[int, int], windows: int) -> Tensor:
    """The inverse of ``into_windows``, without class tokens, as a map float [B,F,h,w]."""
    rows, columns = grid[0] // windows, grid[1] // windows
    batch, width = tokens.shape[0] // windows**2, tokens.shape[-1]
    cells = tokens[:, 1:].reshape(batch, windows, windows, rows, columns, width)
    return cells.permute(0, 5, 1, 3, 2, 4).reshape(batch, width, *grid)
