"""Attention and layers against torch's own, weight by weight."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from detzoo.errors import RecipeError
from detzoo_detr.transformer import Attention, DecoderLayer, EncoderLayer, FeedForward, Transformer

SIZE = Transformer(width=16, heads=4, encoder_layers=1, decoder_layers=1, feedforward=24, dropout=0.0)
CELLS, QUERIES = torch.randn(2, 7, 16), torch.randn(2, 5, 16)
PADDING = torch.tensor([[False] * 7, [False] * 4 + [True] * 3])
BIAS = torch.zeros(2, 7).masked_fill(PADDING, -math.inf)[:, None, None]


def same(ours: Attention, theirs: nn.MultiheadAttention) -> None:
    weights = (ours.query, ours.key, ours.value)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([part.weight for part in weights]))
        theirs.in_proj_bias.copy_(torch.cat([part.bias for part in weights]))
        theirs.out_proj.load_state_dict(ours.out.state_dict())


def feed(ours: FeedForward, theirs: nn.TransformerEncoderLayer | nn.TransformerDecoderLayer, norm: nn.Module) -> None:
    theirs.linear1.load_state_dict(ours.linear1.state_dict())
    theirs.linear2.load_state_dict(ours.linear2.state_dict())
    norm.load_state_dict(ours.norm.state_dict())


def test_attention_is_that_of_torch() -> None:
    ours = Attention(width=16, heads=4, dropout=0.0)
    theirs = nn.MultiheadAttention(16, 4, batch_first=True)
    same(ours, theirs)
    expected = theirs(QUERIES, CELLS, 2 * CELLS, key_padding_mask=PADDING, need_weights=False)[0]
    torch.testing.assert_close(ours(QUERIES, CELLS, 2 * CELLS, BIAS), expected)


def test_without_positions_the_encoder_is_torch_s() -> None:
    ours = EncoderLayer(SIZE)
    theirs = nn.TransformerEncoderLayer(16, 4, 24, dropout=0.0, batch_first=True)
    same(ours.attention, theirs.self_attn)
    theirs.norm1.load_state_dict(ours.norm.state_dict())
    feed(ours.feed_forward, theirs, theirs.norm2)
    expected = theirs(CELLS, src_key_padding_mask=PADDING)
    torch.testing.assert_close(ours(CELLS, torch.zeros_like(CELLS), BIAS)[~PADDING], expected[~PADDING])


def test_without_positions_the_decoder_is_torch_s() -> None:
    ours = DecoderLayer(SIZE)
    theirs = nn.TransformerDecoderLayer(16, 4, 24, dropout=0.0, batch_first=True)
    same(ours.self_attention, theirs.self_attn)
    same(ours.cross_attention, theirs.multihead_attn)
    theirs.norm1.load_state_dict(ours.norm1.state_dict())
    theirs.norm2.load_state_dict(ours.norm2.state_dict())
    feed(ours.feed_forward, theirs, theirs.norm3)
    expected = theirs(QUERIES, CELLS, memory_key_padding_mask=PADDING)
    nothing = torch.zeros_like(CELLS)
    torch.testing.assert_close(ours(QUERIES, torch.zeros_like(QUERIES), CELLS, nothing, BIAS), expected)


def test_positions_enter_queries_and_keys_alone() -> None:
    """With weights that hand everything on and one head, attention is a softmax over sums that are written out."""
    layer = Attention(width=4, heads=1, dropout=0.0)
    for part in (layer.query, layer.key, layer.value, layer.out):
        nn.init.eye_(part.weight)
        nn.init.zeros_(part.bias)
    query, place = torch.randn(1, 1, 4), torch.randn(1, 3, 4)
    value = torch.randn(1, 3, 4)
    logits = [(query[0, 0] * (value[0, i] + place[0, i])).sum() / 2 for i in range(3)]
    shares = torch.stack(logits).exp() / torch.stack(logits).exp().sum()
    expected = sum(shares[i] * value[0, i] for i in range(3))
    torch.testing.assert_close(layer(query, value + place, value)[0, 0], expected)


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(RecipeError) as error:
        Transformer(width=30, heads=4)
    assert str(error.value) == (
        "transformer: width 30 must be a multiple of 4 (sines and cosines of rows and columns) and of heads, 4"
    )
