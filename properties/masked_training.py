"""The note that section 5 links to: where the mask is needed, in training and in inference.

Its text is not among the notes; the claims here are reconstructed from its title.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy
import torch
from hypothesis import strategies as st
from torch import Tensor

from attest import symbolic
from attest.checks import close, sometimes_differs
from attest.claims import Claim, Verdict
from attest.dependence import reach, traced, traced_module
from attest.laws import law, proof, refutation
from attest.strategies import layer_inputs, token_inputs
from attest.subject import Setup, Subject
from properties.bounds import attention_bounds, measured_bound
from properties.families import SDPA
from properties.transformer import MODEL, short_or_long

SECTION = "Linked note (reconstructed)"
QUOTE = "Masked Self-Attention 적용법 차이 - 훈련, 추론"
"""The link's own words, which are all that the notes have of it."""

MSK_01 = Claim(
    id="MSK-01",
    section=SECTION,
    quote=QUOTE,
    statement="Training on a whole target at once, under a causal mask, computes what inference "
    "computes one token after the other.",
    formal="f(x, y)_t = f(x, y_≤t)_t",
    verdict=Verdict.PROVED,
    conditions=("reconstructed from the link's title", "over the reals; up to rounding in floats"),
    references=("Phuong and Hutter 2022, algorithm 10",),
)

MSK_02 = Claim(
    id="MSK-02",
    section=SECTION,
    quote=QUOTE,
    statement="Keeping keys and values of earlier tokens gives what recomputing them gives.",
    formal="step(y_t, cache of y_<t) = f(x, y_≤t)_t",
    verdict=Verdict.HOLDS,
    conditions=("reconstructed from the link's title", "up to rounding, and not bit by bit"),
)

MSK_03 = Claim(
    id="MSK-03",
    section=SECTION,
    quote=QUOTE,
    statement="Inference needs no mask, since there is no future yet.",
    formal="the last row of attention with a causal mask = the last row without",
    verdict=Verdict.CONDITIONAL,
    conditions=(
        "reconstructed from the link's title",
        "the newest token alone asks, and earlier ones are in a cache; or there is one token; or "
        "one layer, of which the last row alone is read",
        "not where two or more tokens are computed again in two or more layers: without a mask "
        "the earlier ones, which the last row reads, have seen what came after them",
    ),
    parts=(
        (
            "cached",
            "A mask takes nothing away from the newest token, which asks alone.",
            Verdict.PROVED,
        ),
        (
            "one layer",
            "The last row of one layer is the same with and without a causal mask.",
            Verdict.PROVED,
        ),
        (
            "recomputed",
            "The last row of several layers is the same with and without a causal mask.",
            Verdict.REFUTED,
        ),
    ),
)

MSK_04 = Claim(
    id="MSK-04",
    section=SECTION,
    quote=QUOTE,
    statement="Scores of −∞, leaving keys out, and weights set to zero and normalised again are "
    "the same mask.",
    formal="softmax(s + log m) = softmax(s without the masked) = m softmax(s) / Σ m softmax(s)",
    verdict=Verdict.CONDITIONAL,
    conditions=(
        "reconstructed from the link's title",
        "over the reals, and some key is allowed: with none all three are 0/0, and what is given "
        "in place of it is a choice (here zeros)",
        "in floating point the weights of all allowed keys may be zero before the masked ones are "
        "taken away: then normalising again is 0/0",
    ),
    parts=(
        ("over the reals", "The three are the same number.", Verdict.PROVED),
        ("in floating point", "The three are the same up to rounding.", Verdict.REFUTED),
    ),
)

MSK_05 = Claim(
    id="MSK-05",
    section=SECTION,
    quote=QUOTE,
    statement="One pass over the whole target gives the gradient of all its beginnings together.",
    formal="∂/∂θ Σ_t loss(f(x, y)_t, y_{t+1}) = Σ_t ∂/∂θ loss(f(x, y_≤t)_t, y_{t+1})",
    verdict=Verdict.PROVED,
    conditions=(
        "reconstructed from the link's title",
        "the loss adds up over tokens, or is divided by their number in the whole batch; a mean "
        "over each sequence gives every token of a shorter one more weight",
    ),
)

# --- MSK-01, MSK-02: all at once, or one after the other ----------------------------------------


@law(
    MODEL,
    inputs=token_inputs(MODEL, least=2),
    formula="f(x, y)_t = f(x, y_≤t)_t",
    claim=MSK_01,
)
def a_beginning_gets_the_same_logits_alone(
    model: Subject, source: Tensor, target_in: Tensor, source_mask: Tensor | None
) -> None:
    """Cutting a target off after t tokens leaves the logits of these t as they were.

    One pass of training, whatever its length, is all the passes that inference would make.
    """
    arguments = {"source": source, "target_in": target_in, "source_mask": source_mask}
    logits = model(**arguments)
    bound = measured_bound(model, arguments)
    for kept in {1, (target_in.shape[1] + 1) // 2}:
        alone = model(source, target_in[:, :kept].contiguous(), source_mask)
        close(alone, logits[:, :kept], 2 * bound, f"the logits of the first {kept} tokens alone")
    sometimes_differs(logits[:, 1:], logits[:, :-1], "tokens get different logits", 2 * bound)


@proof(
    SDPA,
    "causal_mask",
    method="symbolic",
    formula="row t of Attention(q, k, v, causal) = Attention(q_t, k_≤t, v_≤t), in symbols",
    claim=MSK_01,
)
def a_causal_row_is_the_attention_of_its_beginning(
    attention: Callable[..., Any], causal_mask: Callable[..., Any]
) -> None:
    """Each row of masked attention is the same expression as attention over the tokens so far.

    It is shown for three symbolic tokens, and more add terms of the same kind. Attention is all
    that mixes tokens, as the trace of the whole model shows; what stands between does not know how
    many there are.
    """
    q, k, v = (symbolic.symbols(name, 3, 1) for name in "qkv")
    output, _ = attention(q, k, v, causal_mask(3))
    for t in range(3):
        alone, _ = attention(q[t : t + 1], k[: t + 1], v[: t + 1])
        found = symbolic.tensor([output.entries[t, 0]])
        expected = symbolic.tensor([alone.entries[0, 0]])
        assert symbolic.equal(found, expected), f"row {t} is not that of the first {t + 1} tokens"


@proof(
    MODEL,
    method="structural",
    formula="dep(decode(y)_t) = {y_1, …, y_t} for all weights, tokens and memories",
    claim=MSK_01,
)
def nothing_that_follows_takes_part(model: Callable[..., Any]) -> None:
    """Follow what each logit is made of: of the target it is the tokens so far, and no others."""
    target = traced("y", 1, 4)
    memory = traced("m", 1, 3, 4, axes=2)
    logits = traced_module(model, 3, 4, 4, 2, 3, 2).decode(target, memory)
    found = reach(logits, target)[0, :, 0]
    assert torch.equal(found, torch.ones(4, 4, dtype=torch.bool).tril()), (
        f"the logits (rows) depend on the tokens (columns) {found.int().tolist()}"
    )
    assert bool(reach(logits, memory).all()), "some of the memory takes no part"


def _some_is_masked_where_long(drawn: dict[str, Any]) -> dict[str, Any]:
    """Give the same inputs, but for long sources without their last three tokens."""
    source = drawn["source"]
    if source.shape[1] <= 8:
        return drawn
    shown = torch.arange(source.shape[1]) < source.shape[1] - 3
    return {**drawn, "source_mask": shown.expand(source.shape)}


@law(
    MODEL,
    inputs=short_or_long().map(_some_is_masked_where_long),
    formula="step(y_t, cache of y_<t) = decode(y)_t",
    claim=MSK_02,
)
def a_cache_gives_what_recomputing_gives(
    model: Subject, source: Tensor, target_in: Tensor, source_mask: Tensor | None
) -> None:
    """One token at a time, with what earlier steps left in the cache: the logits of one pass.

    Each step gives a new cache, which goes into the next one unread.
    """
    memory = model.encode(source, source_mask)
    arguments = {"target_in": target_in, "memory": memory, "source_mask": source_mask}
    logits = model.decode(**arguments)
    bound = measured_bound(model, arguments, "decode")
    cache = None
    for t in range(target_in.shape[1]):
        found, cache = model.step(target_in[:, t], memory, cache, source_mask)
        close(found, logits[:, t], 2 * bound, f"the logits of step {t}")
    if target_in.shape[1] > 1:
        forgotten, _ = model.step(target_in[:, -1], memory, None, source_mask)
        sometimes_differs(forgotten, logits[:, -1], "the cache makes a difference", 2 * bound)


# --- MSK-03: where inference needs a mask -------------------------------------------------------


@proof(
    SDPA,
    "causal_mask",
    method="exhaustive",
    formula="causal_mask(n)_n = True, so Attention(q_n, k, v, causal_n) = Attention(q_n, k, v)",
    claim=MSK_03.part("cached"),
)
def the_newest_token_may_see_everything(
    attention: Callable[..., Any], causal_mask: Callable[..., Any]
) -> None:
    """The mask's last row is true throughout, for n = 1 to 64 and, as j ≤ n, for every n.

    With that row or with no mask at all, the newest token gets the same output, bit by bit. With
    n = 1 the mask is that row.
    """
    generator = torch.Generator().manual_seed(0)
    for n in range(1, 65):
        newest = causal_mask(n)[-1:]
        assert bool(newest.all()), f"the last row of the mask of {n} tokens hides some"
        q, k, v = (
            torch.randn(size, 3, generator=generator, dtype=torch.float64) for size in (1, n, n)
        )
        masked, free = attention(q, k, v, newest)[0], attention(q, k, v)[0]
        assert torch.equal(masked, free), f"the mask changes the newest of {n} tokens"
    earlier = attention(k, k, v, causal_mask(64))[0], attention(k, k, v)[0]
    assert not torch.equal(*earlier), "the mask changes nothing at all"


@proof(
    "EncoderLayer",
    "causal_mask",
    method="structural",
    formula="one layer: y_n with a causal mask = y_n without, bit by bit; y_1 differs",
    claim=MSK_03.part("one layer"),
)
def the_last_row_of_one_layer_needs_no_mask(
    layer: Callable[..., Any], causal_mask: Callable[..., Any]
) -> None:
    """One layer's last row reads the tokens as they came in, which have seen nothing yet.

    So it is of those tokens alone that it is made, and of all of them, with a mask or without.
    """
    torch.manual_seed(0)
    module = layer(4, 2, 5).double()
    for n in (2, 3, 8):
        x = torch.randn(2, n, 4, dtype=torch.float64)
        free, masked = module(x), module(x, causal_mask(n))
        assert torch.equal(free[:, -1], masked[:, -1]), f"the mask changes the last of {n} rows"
        assert bool((free[:, 0] != masked[:, 0]).any()), "the mask does not change the first row"


@refutation(
    "Encoder",
    claim=MSK_03.part("recomputed"),
    formula="several layers: y_n without a mask = y_n with a causal mask",
    inputs=layer_inputs("Encoder", "none", 2, ("normal",)).filter(
        lambda drawn: drawn["setup"].arguments["n_layers"] >= 2
    ),
    pinned={
        "x": torch.tensor([[[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]]).double(),
        "mask": None,
        "setup": Setup({"d_model": 4, "n_heads": 1, "d_hidden": 4, "n_layers": 2}),
    },
)
def the_last_row_of_several_layers_needs_no_mask(
    encoder: Subject, x: Tensor, mask: Tensor | None
) -> None:
    """Without a mask the first layer lets earlier tokens see later ones, and the second reads them.

    Layers of self-attention alone, as a decoder has them that consults no memory.
    """
    del mask
    causal = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
    bound = measured_bound(encoder, {"x": x, "mask": causal})
    close(encoder(x)[:, -1], encoder(x, causal)[:, -1], 2 * bound, "the last row without a mask")


# --- MSK-04: three ways to mask -----------------------------------------------------------------


@proof(
    SDPA,
    method="symbolic",
    formula="α with s_j = −∞ = α without key j = α_i [i ≠ j] / Σ_{l ≠ j} α_l, in symbols",
    claim=MSK_04.part("over the reals"),
)
def symbols_show_three_ways_to_mask_a_key(attention: Callable[..., Any]) -> None:
    """Mask one of three symbolic keys, or two; leave them out; set their weights to zero.

    The three outputs are the same expression. Every mask of three keys that allows some and hides
    some is tried; a key more is a term more of the same kind in every sum.
    """
    q, k, v = (symbolic.symbols(name, size, 1) for name, size in (("q", 1), ("k", 3), ("v", 3)))
    _, weights = attention(q, k, v)
    for code in range(1, 7):
        kept = [j for j in range(3) if code >> j & 1]
        mask = torch.tensor([[j in kept for j in range(3)]])
        masked, _ = attention(q, k, v, mask)
        deleted, _ = attention(q, k[kept], v[kept])
        own = weights.entries[0, kept]
        zeroed = (own @ v.entries[kept]) / own.sum()
        for name, other in (("left out", deleted.entries[0, 0]), ("set to zero", zeroed[0])):
            found = symbolic.tensor([masked.entries[0, 0]])
            assert symbolic.equal(found, symbolic.tensor([other])), (
                f"keys masked and keys {name} differ where {kept} are kept"
            )
        free = symbolic.tensor([attention(q, k, v)[0].entries[0, 0]])
        assert not symbolic.equal(found, free), "the mask changes nothing"


def _far_apart(gap: float) -> dict[str, Any]:
    """Give one query that scores a masked key higher than the allowed ones by so much."""
    return {
        "query": torch.ones(1, 1).double(),
        "key": torch.tensor([[gap], [0.0], [-1.0]]).double(),
        "value": torch.tensor([[1.0], [2.0], [3.0]]).double(),
        "mask": torch.tensor([[False, True, True]]),
    }


@refutation(
    SDPA,
    claim=MSK_04.part("in floating point"),
    formula="Attention(q, k, v, mask) = Σ_j m_j α_j v_j / Σ_j m_j α_j",
    inputs=st.sampled_from((1.0, 10.0, 100.0, 700.0, 800.0, 1000.0, 3000.0)).map(_far_apart),
    pinned=_far_apart(1000.0),
)
def weights_may_be_set_to_zero_and_normalised_again(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor
) -> None:
    """A masked key that scores far above the others leaves them weights of zero, and then 0/0."""
    arguments = {"query": query, "key": key, "value": value, "mask": mask}
    output, _ = attention(**arguments)
    _, weights = attention(query, key, value)
    left = weights * mask
    bound = attention_bounds(attention, arguments).output
    bound = bound + attention_bounds(attention, {**arguments, "mask": None}).output
    close(left @ value / left.sum(-1, keepdim=True), output, 2 * bound, "the output")


# --- MSK-05: one gradient -----------------------------------------------------------------------


@proof(
    MODEL,
    "sequence_loss",
    method="symbolic",
    formula="N loss(z, y) = Σ_bt loss(z_bt, y_bt), so ∂(N loss)/∂z_bt = ∂loss(z_bt, y_bt)/∂z_bt",
    claim=MSK_05,
)
def the_gradient_of_one_pass_is_that_of_all_beginnings(
    model: Callable[..., Any], sequence_loss: Callable[..., Any]
) -> None:
    """Times the number of tokens, the loss of symbols is the sum of what each token adds.

    A token adds what it would alone, after its own beginning: its logits are those of the
    beginning, which the trace of the decoder shows to be made of nothing else. A derivative is
    linear, and so the gradient by any weight adds up as well. Not so where each sequence is
    averaged first: with one token beside three, it pulls three times as hard.
    """
    target = torch.tensor([[1, 0, 1], [0, 1, 1]])
    real = torch.tensor([[True, False, False], [True, True, True]])
    z = symbolic.symbols("z", 2, 3, 2)
    whole = sequence_loss(z, target, real).entries.item() * int(real.sum())
    per_sequence = sum(
        sequence_loss(z[b : b + 1], target[b : b + 1], real[b : b + 1]).entries.item()
        for b in range(2)
    )
    averaged = []
    for b, t in ((b, t) for b in range(2) for t in range(3) if real[b, t]):
        alone = sequence_loss(z[b : b + 1, t : t + 1], target[b : b + 1, t : t + 1]).entries.item()
        for logit in z.entries[b, t]:
            pulls = [sympy.diff(loss, logit) for loss in (whole, alone, 2 * per_sequence)]
            one, other, mean = (symbolic.tensor([pull]) for pull in pulls)
            assert symbolic.equal(one, other), f"token {t} of sequence {b} pulls otherwise alone"
            averaged.append(symbolic.equal(mean, other))
    assert not all(averaged), "a mean over sequences pulls in the same way"
    y = traced("y", 1, 3)
    logits = traced_module(model, 3, 4, 4, 2, 3, 1)(torch.tensor([[0, 1]]), y)
    seen = reach(logits, y)[0, :, 0]
    assert torch.equal(seen, torch.ones(3, 3, dtype=torch.bool).tril()), "a beginning knows its end"
