"""The Transformer's reference: it agrees with torch, step by step as all at once."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - torch's custom

from reference import (
    Decoder,
    DecoderLayer,
    Encoder,
    EncoderLayer,
    FeedForward,
    LayerNorm,
    PatchEmbedding,
    Transformer,
    VisionTransformer,
    alibi_bias,
    biased_attention,
    causal_mask,
    clipped_distances,
    layer_norm,
    relative_attention,
    rotary_positions,
    scaled_dot_product_attention,
    sinusoidal_positional_encoding,
)

NORMS = pytest.mark.parametrize("pre_norm", [False, True], ids=["post-norm", "pre-norm"])
D, H, HIDDEN = 6, 3, 7


@pytest.fixture(autouse=True)
def _in_float64():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def near(one, other):
    assert one.shape == other.shape
    assert float((one - other).detach().abs().max()) < 1e-12


def copy_linear(theirs, ours):
    theirs.weight.data.copy_(ours.weight)
    theirs.bias.data.copy_(ours.bias)


def copy_attention(theirs, ours):
    parts = (ours.query, ours.key, ours.value)
    theirs.in_proj_weight.data.copy_(torch.cat([part.weight for part in parts]))
    theirs.in_proj_bias.data.copy_(torch.cat([part.bias for part in parts]))
    copy_linear(theirs.out_proj, ours.output)


def copy_norm(theirs, ours):
    ours.gain.data.normal_()
    ours.bias.data.normal_()
    theirs.weight.data.copy_(ours.gain)
    theirs.bias.data.copy_(ours.bias)


def test_layer_norm_is_torchs():
    x, gain, bias = 3 + torch.randn(2, 5, D), torch.randn(D), torch.randn(D)
    near(layer_norm(x, gain, bias), F.layer_norm(x, (D,), gain, bias))
    near(LayerNorm(D)(x), nn.LayerNorm(D)(x))


@NORMS
def test_an_encoder_layer_is_torchs(pre_norm):
    ours = EncoderLayer(D, H, HIDDEN, pre_norm=pre_norm)
    theirs = nn.TransformerEncoderLayer(D, H, HIDDEN, 0.0, batch_first=True, norm_first=pre_norm)
    copy_attention(theirs.self_attn, ours.attention)
    copy_linear(theirs.linear1, ours.feed_forward.inner)
    copy_linear(theirs.linear2, ours.feed_forward.outer)
    copy_norm(theirs.norm1, ours.attention_norm)
    copy_norm(theirs.norm2, ours.feed_forward_norm)
    x, real = torch.randn(2, 5, D), torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    near(ours(x), theirs(x))
    near(ours(x, real[:, None]), theirs(x, src_key_padding_mask=~real))


@NORMS
def test_a_decoder_layer_is_torchs(pre_norm):
    ours = DecoderLayer(D, H, HIDDEN, pre_norm=pre_norm)
    theirs = nn.TransformerDecoderLayer(D, H, HIDDEN, 0.0, batch_first=True, norm_first=pre_norm)
    copy_attention(theirs.self_attn, ours.self_attention)
    copy_attention(theirs.multihead_attn, ours.cross_attention)
    copy_linear(theirs.linear1, ours.feed_forward.inner)
    copy_linear(theirs.linear2, ours.feed_forward.outer)
    copy_norm(theirs.norm1, ours.self_attention_norm)
    copy_norm(theirs.norm2, ours.cross_attention_norm)
    copy_norm(theirs.norm3, ours.feed_forward_norm)
    x, memory = torch.randn(2, 4, D), torch.randn(2, 5, D)
    real = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    expected = theirs(x, memory, tgt_mask=~causal_mask(4), memory_key_padding_mask=~real)
    near(ours(x, memory, memory_mask=real[:, None]), expected)


@NORMS
def test_a_stack_applies_its_layers_in_order(pre_norm):
    encoder = Encoder(D, H, HIDDEN, 2, pre_norm=pre_norm)
    decoder = Decoder(D, H, HIDDEN, 2, pre_norm=pre_norm)
    x, memory = torch.randn(2, 4, D), torch.randn(2, 5, D)
    near(encoder(x), encoder.norm(encoder.layers[1](encoder.layers[0](x))))
    inner = decoder.layers[1](decoder.layers[0](x, memory), memory)
    near(decoder(x, memory), decoder.norm(inner))


def model(*, pre_norm=False):
    return Transformer(5, 8, D, H, HIDDEN, 2, pre_norm=pre_norm)


@NORMS
def test_one_token_at_a_time_gives_what_all_at_once_gives(pre_norm):
    transformer = model(pre_norm=pre_norm)
    source, target = torch.randint(5, (2, 4)), torch.randint(8, (2, 6))
    real = torch.tensor([[True] * 4, [True, True, False, False]])
    memory, cache = transformer.encode(source, real), None
    logits = []
    for t in range(6):
        step, cache = transformer.step(target[:, t], memory, cache, real)
        logits.append(step)
    near(torch.stack(logits, 1), transformer(source, target, real))


def test_generating_feeds_back_the_likeliest_token():
    transformer, source = model(), torch.randint(5, (2, 4))
    found = transformer.generate(source, 1, 5)
    assert found.shape == (2, 5)
    read = torch.cat([torch.full((2, 1), 1), found[:, :-1]], 1)
    assert torch.equal(transformer(source, read).argmax(-1), found)
    assert transformer.generate(source, 1, 0).shape == (2, 0)


def test_sinusoids_are_those_of_the_paper():
    table = sinusoidal_positional_encoding(50, 8)
    for position in (0, 1, 49):
        for i in range(4):
            angle = position * 10000 ** (-2 * i / 8)
            assert float(table[position, 2 * i]) == pytest.approx(math.sin(angle), abs=1e-14)
            assert float(table[position, 2 * i + 1]) == pytest.approx(math.cos(angle), abs=1e-14)


def test_rotary_scores_depend_on_distance_alone():
    query, key = torch.randn(1, 8), torch.randn(1, 8)

    def score(m, n):
        turned = (rotary_positions(x, torch.tensor([p])) for x, p in ((query, m), (key, n)))
        return next(turned) @ next(turned).mT

    near(score(3, 7), score(103, 107))
    assert float((score(3, 7) - score(3, 8)).abs()) > 1e-3
    near(rotary_positions(query, torch.tensor([9])).norm(dim=-1), query.norm(dim=-1))


def test_alibi_lowers_scores_by_distance():
    bias = alibi_bias(8, 2, 3)
    assert bias[0].tolist() == [[-0.5, 0.0, -0.5], [-1.0, -0.5, 0.0]]
    assert bias[7, 1, 0] == -2 * 2.0**-8
    query, key, value = torch.randn(2, 4), torch.randn(3, 4), torch.randn(3, 5)
    plain, _ = scaled_dot_product_attention(query, key, value)
    near(biased_attention(query, key, value, torch.zeros(2, 3))[0], plain)
    lifted, _ = biased_attention(query, key, value, torch.tensor([[0.0, 0.0, 1e4]] * 2))
    near(lifted, value[-1].expand(2, -1))


def test_relative_positions_are_clipped_and_added():
    assert clipped_distances(2, 4, 1).tolist() == [[0, 0, 1, 2], [0, 0, 0, 1]]
    query, key, value = torch.randn(3, 4), torch.randn(3, 4), torch.randn(3, 5)
    nothing = torch.zeros(3, 4), torch.zeros(3, 5)
    plain, _ = scaled_dot_product_attention(query, key, value)
    near(relative_attention(query, key, value, *nothing)[0], plain)
    keys, values = torch.randn(3, 4), torch.randn(3, 5)
    output, weights = relative_attention(query, key, value, keys, values)
    index = clipped_distances(3, 3, 1)
    for i in range(3):
        scores = torch.stack([query[i] @ (key[j] + keys[index[i, j]]) for j in range(3)]) / 2
        near(weights[i], torch.softmax(scores, -1))
        near(output[i], sum(weights[i, j] * (value[j] + values[index[i, j]]) for j in range(3)))


def test_patches_and_one_layer_are_a_convolution():
    embedding, images = PatchEmbedding(2, 3, D), torch.randn(2, 3, 4, 6)
    kernel = embedding.projection.weight.view(D, 3, 2, 2)
    expected = F.conv2d(images, kernel, embedding.projection.bias, stride=2)
    near(embedding(images), expected.flatten(2).mT)


def test_a_vision_transformer_tells_where_a_patch_is():
    vision = VisionTransformer(2, 1, 6, D, H, HIDDEN, 1, 4)
    images = torch.randn(2, 1, 4, 6)
    assert vision(images).shape == (2, 4)
    assert float((vision(images) - vision(images.roll(2, -1))).detach().abs().max()) > 1e-6


def test_the_feed_forward_network_keeps_tokens_apart():
    network, x = FeedForward(D, HIDDEN), torch.randn(1, 4, D)
    near(network(x)[:, 1:2], network(x[:, 1:2]))
    hidden = F.relu(F.linear(x, network.inner.weight, network.inner.bias))
    near(network(x), F.linear(hidden, network.outer.weight, network.outer.bias))
