"""Section 5 of the notes, the Transformer's layers and stacks: what encoder and decoder do.

Read it beside reference/transformer_layers.py: under the heading of each group of laws stand the
lines that the laws speak of, in the order of that file. Proofs and refutations come last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import Tensor

from attest import symbolic
from attest.checks import (
    DoesNotApply,
    above,
    at_least,
    at_most,
    close,
    finite,
    identical,
    sometimes,
    sometimes_differs,
)
from attest.claims import Claim, Verdict
from attest.dependence import dependence, reach, traced, traced_module
from attest.differentiation import gradients, leaf, weighted_sum
from attest.laws import law, proof, refutation
from attest.strategies import MaskKind, attention_inputs, fill, layer_inputs
from attest.subject import Setup, Subject
from attest.tolerances import unit_roundoff
from properties.bounds import LAYER_NORM_EPS, measured_bound
from properties.families import SDPA, STACKS

ENCODERS = ("EncoderLayer", "Encoder")
DECODERS = ("DecoderLayer", "Decoder")
LAYERS = ("EncoderLayer", "DecoderLayer")
DEEP = ("Encoder", "Decoder")

SECTION = "5 Transformer"

TRF_03 = Claim(
    id="TRF-03",
    section=SECTION,
    quote="층층히 쌓아 인코더와 디코더를 구성한",
    statement="Encoder and decoder are layers stacked on top of each other.",
    formal="f = B_L ∘ … ∘ B_1, each with parameters of its own: L (12 d² + 13 d) numbers in an "
    "encoder with d_hidden = 4 d, of which 13 d are biases and normalisations",
    verdict=Verdict.PROVED,
    references=("Vaswani et al. 2017, section 3.1",),
)

TRF_04 = Claim(
    id="TRF-04",
    section=SECTION,
    quote="다층 Self-Attnetion을 통해 요약하고",
    statement="The encoder sums its input up; the memory is all that it gives.",
    formal="memory = encoder(x) ∈ R^(n×d), the tokens after the last layer, for x ∈ R^(n×d)",
    verdict=Verdict.CONDITIONAL,
    conditions=(
        "summing up means putting into context: every token of the memory is about all of the "
        "input, but there are as many of them as there were, and as wide",
    ),
    references=("Phuong and Hutter 2022, algorithm 8",),
    parts=(
        ("memory", "The memory is every token of the last layer.", Verdict.PROVED),
        ("compression", "The memory says no more than one vector could.", Verdict.REFUTED),
    ),
)

TRF_05 = Claim(
    id="TRF-05",
    section=SECTION,
    quote="이전에 생성된 단어와 인코더 출력",
    statement="The decoder goes by the words so far and by what the encoder gave.",
    formal="output_t depends on x_1 … x_t, on memory_1 … memory_n, and on nothing else",
    verdict=Verdict.PROVED,
    references=("Vaswani et al. 2017, section 3.2.3",),
)

TRF_08 = Claim(
    id="TRF-08",
    section=SECTION,
    quote="아래의 두 Attention을 모두 수행한다",
    statement="A decoder performs two attentions at every step, one on itself and one on the "
    "encoder.",
    formal="output_t changes with x_j, j < t, and with memory_s",
    verdict=Verdict.CONDITIONAL,
    conditions=("there is an encoder: a language model is a decoder without cross-attention",),
    references=("Vaswani et al. 2017, section 3.1",),
    parts=(
        ("with an encoder", "Both attentions change the output.", Verdict.HOLDS),
        ("decoder alone", "Every decoder has two attentions.", Verdict.REFUTED),
    ),
)

TRF_09 = Claim(
    id="TRF-09",
    section=SECTION,
    quote='"과거 생성 토큰끼리" 서로 참고',
    statement="In the decoder, tokens look at past ones.",
    formal="α_ij > 0 for j ≤ i, and α_ij = 0 for j > i",
    verdict=Verdict.CONDITIONAL,
    conditions=("a token counts itself among the past: the first has no other to look at",),
    references=("Vaswani et al. 2017, section 3.2.3",),
    parts=(
        ("and itself", "A token looks at itself and at all before it.", Verdict.PROVED),
        ("strictly past", "A token looks only at those before it.", Verdict.REFUTED),
    ),
)

TRF_10 = Claim(
    id="TRF-10",
    section=SECTION,
    quote="미래 토큰 차단(causal amsk)",
    statement="The causal mask blocks future tokens.",
    formal="output_i does not change with x_j, j > i, bit by bit",
    verdict=Verdict.CONDITIONAL,
    conditions=("the future is finite: 0 · NaN is NaN, so that NaN and infinity pass the mask",),
    references=("Vaswani et al. 2017, section 3.2.3",),
    parts=(
        ("finite", "No finite token reaches the outputs before it.", Verdict.PROVED),
        ("not a number", "No token at all reaches the outputs before it.", Verdict.REFUTED),
    ),
)

TRF_11 = Claim(
    id="TRF-11",
    section=SECTION,
    quote='디코더가 "인코더 출력 전체"를 참고',
    statement="Every token of the decoder consults all that the encoder gave.",
    formal="output_t depends on memory_s for all t and s, whatever their order",
    verdict=Verdict.PROVED,
    references=("Vaswani et al. 2017, section 3.2.3",),
)

TRF_12 = Claim(
    id="TRF-12",
    section=SECTION,
    quote="Q는 디코더, K/V는 인코더",
    statement="Queries come from the decoder, keys and values from the encoder.",
    formal="α = softmax(Q(x) K(memory)ᵀ / √d_h) ∈ R^(m×n), output = α V(memory)",
    verdict=Verdict.PROVED,
    references=("Vaswani et al. 2017, section 3.2.3",),
)

EQ_01 = Claim(
    id="EQ-01",
    section=SECTION,
    quote="두 Attention은 구체적으로 어떻게 연결되는가?",
    statement="A decoder layer is self-attention, cross-attention of its output, and the "
    "feed-forward network of that, one put into the other.",
    formal="output = FFN(Attention(SelfAttention(x), memory, memory)), without residuals",
    verdict=Verdict.REFUTED,
    conditions=(
        "as written, all that is left of the words so far are the weights on the memory: with one "
        "token of memory there is one weight, which is 1, and every prefix gives the same",
        "a layer adds each sublayer to what it read: LayerNorm(x + sublayer(x))",
    ),
    references=("Vaswani et al. 2017, section 3.1",),
)

EQ_02 = Claim(
    id="EQ-02",
    section=SECTION,
    quote="이 과정이 여러 레이어 반복됨",
    statement="This is repeated over several layers.",
    formal="x ← layer_l(x, memory) for l = 1 … L, with the same memory",
    verdict=Verdict.MEASURED,
    conditions=("the layers have residuals, which the equations leave out",),
    references=("Dong, Cordonnier and Loukas 2021, theorem 2.2, for attention alone",),
    parts=(
        ("repeated", "A decoder is its layers, one after another, on one memory.", Verdict.PROVED),
        (
            "as written",
            "Without residuals, tokens become alike as layers follow each other.",
            Verdict.MEASURED,
        ),
    ),
)

WITHIN_HALF_PRECISION = ("integers", "normal", "ties", "sparse", "small")
IDENTICAL_IN = ("float64", "float64", "float32")
"""Where what is hidden is to change nothing at all: in every third example in float32."""
MODERATE = ("integers", "normal", "sparse")


def _inputs(
    mask: MaskKind = "any", least: int = 1, regimes: tuple[str, ...] | None = None
) -> Callable[[str], Any]:
    """Give the inputs of layers and stacks, by the component's name."""

    def inputs(component: str) -> Any:
        if regimes is None:
            return layer_inputs(component, mask, least)
        return layer_inputs(component, mask, least, regimes)

    return inputs


def _depth(stack: Subject) -> int:
    assert stack.setup is not None
    return stack.setup.arguments.get("n_layers", 1)


def _another(tokens: Tensor) -> Tensor:
    """Give other tokens of about the same size; not even their directions are the same."""
    return 2 - tokens.flip(-1)


def _expanded(mask: Tensor | None, batch: int, rows: int, keys: int) -> Tensor:
    """Write a mask out for every item and query; None allows everything."""
    if mask is None:
        return torch.ones(batch, rows, keys, dtype=torch.bool)
    return mask.expand(batch, rows, keys)


def _causal(length: int) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool).tril()


def _within_reach(allowed: Tensor, depth: int) -> Tensor:
    """Say from which tokens a token may have heard after some layers, (B, N, N).

    A layer passes on what a token is told by those it may look at, and what it was itself.
    """
    step = (allowed | torch.eye(allowed.shape[-1], dtype=torch.bool)).double()
    heard = step
    for _ in range(depth - 1):
        heard = ((heard @ step) > 0).double()
    return heard > 0


def _same_rows(actual: Tensor, expected: Tensor, rows: Tensor, what: str) -> None:
    """Require some tokens, (B, N), to be the same bit by bit."""
    chosen = rows[..., None].expand_as(actual)
    identical(torch.where(chosen, actual, 0.0), torch.where(chosen, expected, 0.0), what)


# --- Encoder and its layer ----------------------------------------------------------------------
# » return self.attention(x, x, x, mask)[0]
# » x = residual(x, attend, self.attention_norm, pre_norm=self.pre_norm)


@law(
    *ENCODERS,
    inputs=_inputs(least=3),
    formula="f(P x, P mask Pᵀ) = P f(x, mask)",
)
def permuting_the_tokens_permutes_the_output(
    encoder: Subject, x: Tensor, mask: Tensor | None
) -> None:
    """Without positions, an encoder does not know which token comes first."""
    batch, length, _ = x.shape
    order = torch.arange(length).roll(1)  # three tokens and more: not its own inverse
    moved_mask = mask
    if mask is not None:
        moved_mask = _expanded(mask, batch, length, length)[:, order][:, :, order]
    output, moved = encoder(x, mask), encoder(x[:, order], moved_mask)
    bound = 2 * measured_bound(encoder, {"x": x, "mask": mask})
    close(moved, output[:, order], bound, "the output of permuted tokens")
    sometimes_differs(output[:, order], output, "tokens differ in their output", bound)


@law(
    *ENCODERS,
    inputs=_inputs("none", least=2),
    formula="f([x, x]) = [f(x), f(x)]",
)
def the_tokens_twice_are_the_tokens_once(encoder: Subject, x: Tensor, mask: Tensor | None) -> None:
    """An average over tokens does not change when each of them is there twice."""
    length = x.shape[1]
    twice = torch.cat([x, x], 1)
    output, doubled = encoder(x, mask), encoder(twice)
    bound = 2 * measured_bound(encoder, {"x": twice, "mask": None})
    close(doubled[:, :length], output, bound, "the output of the first copy")
    close(doubled[:, length:], output, bound, "the output of the second copy")
    more = encoder(torch.cat([x, _another(x)], 1))[:, :length]
    sometimes_differs(more, output, "other tokens change the output", bound)


@law(
    *ENCODERS,
    inputs=_inputs("some", least=2),
    formula="output_i does not change with x_j where no layer lets i hear of j, bit by bit",
    dtypes=IDENTICAL_IN,
)
def what_a_mask_hides_cannot_reach_a_token(
    encoder: Subject, x: Tensor, mask: Tensor | None
) -> None:
    """A token hears of those that its mask allows, and in deeper layers of those they heard of."""
    batch, length, _ = x.shape
    allowed = _expanded(mask, batch, length, length)
    one = int(allowed.sum()) % length  # any one of them
    changed = x.clone()
    changed[:, one] = _another(x[:, one])
    output, other = encoder(x, mask), encoder(changed, mask)
    heard = _within_reach(allowed, _depth(encoder))[..., one]  # (B, N)
    _same_rows(other, output, ~heard, "the tokens that do not hear of the changed one")
    sometimes(bool((~heard).any()), "a token does not hear of the changed one")
    heard[:, one] = False
    reached = (other - output) * heard[..., None]
    sometimes_differs(reached, torch.zeros_like(reached), "other tokens hear of the changed one")


@law(
    *ENCODERS,
    inputs=_inputs("none", least=3),
    formula="f(x, mask)[mask] = f(x[mask])",
)
def hidden_tokens_might_as_well_not_exist(encoder: Subject, x: Tensor, mask: Tensor | None) -> None:
    """Hiding tokens from all others and leaving them out are the same to those that are left."""
    keep = torch.arange(x.shape[1]) % 3 != 1
    output, fewer = encoder(x, keep[None, :]), encoder(x[:, keep])
    bound = 2 * measured_bound(encoder, {"x": x, "mask": keep[None, :]})
    close(output[:, keep], fewer, bound, "the tokens that are left")
    shown = encoder(x, mask)
    sometimes_differs(shown[:, keep], fewer, "showing the hidden tokens changes the others", bound)


@law(
    *ENCODERS,
    inputs=_inputs("none", least=3),
    formula="f(x, True) = f(x)",
)
def a_mask_that_allows_everything_is_no_mask(
    encoder: Subject, x: Tensor, mask: Tensor | None
) -> None:
    """Allowing every token is the same as not passing a mask."""
    length = x.shape[1]
    output = encoder(x, mask)
    bound = 2 * measured_bound(encoder, {"x": x, "mask": mask})
    for shape in ((length, length), (1, length), (x.shape[0], 1, length)):
        same = encoder(x, torch.ones(shape, dtype=torch.bool))
        close(same, output, bound, f"the output with a mask {shape} of True")
    narrower = encoder(x, _causal(length))
    sometimes_differs(narrower, output, "a mask that forbids something changes the output", bound)


@law(
    *ENCODERS,
    inputs=_inputs("some", least=2),
    formula="f(x, mask) = f(x, mask expanded to (B, S, S))",
)
def a_mask_broadcasts_to_the_scores(encoder: Subject, x: Tensor, mask: Tensor | None) -> None:
    """A dimension of size one, or one that is missing, stands for all queries or items."""
    batch, length, _ = x.shape
    output = encoder(x, mask)
    same = encoder(x, _expanded(mask, batch, length, length).contiguous())
    bound = 2 * measured_bound(encoder, {"x": x, "mask": mask})
    close(same, output, bound, "the output with the mask expanded")
    sometimes_differs(encoder(x), output, "without a mask the output differs", bound)


@law(
    *ENCODERS,
    inputs=_inputs("none", least=3, regimes=MODERATE),
    formula="∂output_i / ∂x_j ≠ 0 for all i and j",
    claim=TRF_04.part("memory"),
)
def every_token_of_the_memory_hears_of_every_input(
    encoder: Subject, x: Tensor, mask: Tensor | None
) -> None:
    """Change one token at a time: all of the output changes, each time."""
    _, _, moved, bound = _moved_by_each(encoder, "x", {"x": x, "mask": mask})
    _all_sometimes(encoder, moved > bound, "every token hears of every other")


# Up to so many tokens are changed, each by itself; up to so many each is expected to move each, and
# among more of them most.
FEW = 6
MOST = 0.75


def _moved_by_each(
    stack: Subject, name: str, arguments: Mapping[str, Any]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Change single tokens of one input, each in an item of a batch by itself.

    Returns:
        The outputs, that without a change first, (changed + 1, output, D); which tokens were
        changed; how far each change moved each token of the output, (changed, output); and how far
        rounding may have.
    """
    one = {k: v[:1] for k, v in arguments.items() if isinstance(v, Tensor)}
    changed = torch.arange(one[name].shape[1])
    if len(changed) > FEW:  # some of them, the first and the last among these
        changed = torch.linspace(0, len(changed) - 1, FEW).long()
    batch = {k: v.repeat(len(changed) + 1, 1, 1) for k, v in one.items()}
    for item, token in enumerate(changed.tolist(), 1):
        batch[name][item, token] = _another(batch[name][item, token])
    result = stack(**{**arguments, **batch})
    moved = (result[1:] - result[:1]).abs().amax(-1).double()
    return result, changed, moved, 2 * measured_bound(stack, {**arguments, **batch})


def _all_sometimes(stack: Subject, moves: Tensor, sentence: str) -> None:
    """Require that all pairs of tokens move, sometimes: for few tokens and many, at every depth.

    One example of three tokens would not tell a window of three from the whole.
    """
    changed, moving = moves.shape
    seen = bool(moves.all()) if moving <= FEW else float(moves.double().mean()) > MOST
    many = "five and more" if max(moves.shape) > 4 else "up to four"
    among = "fewer" if changed > moving else "more" if changed < moving else "as many"
    sometimes(seen, f"{sentence}: {many}, {among} than changed, {_depth(stack)} layers deep")


# --- Decoder and its layer: the past ------------------------------------------------------------
# » mask = causal_mask(x.shape[1]).to(x.device)


@law(
    *DECODERS,
    inputs=_inputs(least=2),
    formula="output_i does not change with x_j, j > i, bit by bit",
    claim=(TRF_10.part("finite"), TRF_05),
    dtypes=IDENTICAL_IN,
)
def the_future_does_not_change_the_past(
    decoder: Subject,
    x: Tensor,
    memory: Tensor,
    self_mask: Tensor | None,
    memory_mask: Tensor | None,
) -> None:
    """Rewriting tokens leaves all outputs before them untouched, and changes their own."""
    kept = (x.shape[1] + 1) // 2
    rewritten = torch.cat([x[:, :kept], _another(x[:, kept:])], 1)
    output = decoder(x, memory, self_mask, memory_mask)
    other = decoder(rewritten, memory, self_mask, memory_mask)
    identical(other[:, :kept], output[:, :kept], "the outputs before the change")
    sometimes_differs(other[:, kept:], output[:, kept:], "later outputs change")


@law(
    *DECODERS,
    inputs=_inputs("none", least=3, regimes=MODERATE),
    formula="output_i changes with x_j for every j ≤ i, and by no more than rounding for j > i",
    claim=(TRF_09.part("and itself"), TRF_08.part("with an encoder"), TRF_05),
)
def a_token_depends_on_itself_and_on_all_before_it(
    decoder: Subject,
    x: Tensor,
    memory: Tensor,
    self_mask: Tensor | None,
    memory_mask: Tensor | None,
) -> None:
    """Change one token at a time: what comes before stays, what comes with and after it moves."""
    arguments = {"x": x, "memory": memory, "self_mask": self_mask, "memory_mask": memory_mask}
    result, changed, moved, bound = _moved_by_each(decoder, "x", arguments)
    past = changed[:, None] <= torch.arange(x.shape[1])  # (changed, output)
    before = torch.where(past[..., None], result[:1], result[1:])
    close(before, result[:1].expand_as(before), bound, "the outputs before the change")
    _all_sometimes(decoder, (moved > bound) | ~past, "a token depends on all before it")


@law(
    *DECODERS,
    inputs=_inputs("none", least=3, regimes=MODERATE),
    formula="∂output_i / ∂x_j = 0 for j > i, and ≠ 0 for j ≤ i",
    claim=TRF_10.part("finite"),
)
def gradients_reach_the_past_alone(
    decoder: Subject,
    x: Tensor,
    memory: Tensor,
    self_mask: Tensor | None,
    memory_mask: Tensor | None,
) -> None:
    """What a token is learned from are the tokens up to it, and all of them."""
    variable, row = leaf(x), x.shape[1] // 2
    output = decoder(variable, memory, self_mask, memory_mask)[:, row]
    probe = torch.sin(1.0 + torch.arange(output.numel())).to(output).view_as(output)
    (grad,) = gradients(output, probe, variable)
    later = grad[:, row + 1 :]
    identical(later, torch.zeros_like(later), "the gradient by later tokens")
    sizes = grad[:, : row + 1].abs().amax(-1)
    sometimes(bool((sizes > 0).all()), "the gradients by earlier tokens are not zero")


@law(
    *DECODERS,
    inputs=_inputs("none", least=3),
    formula="f(x[..t]) = f(x)[..t]",
    claim=TRF_09.part("and itself"),
)
def a_prefix_gets_what_it_gets_in_the_whole(
    decoder: Subject,
    x: Tensor,
    memory: Tensor,
    self_mask: Tensor | None,
    memory_mask: Tensor | None,
) -> None:
    """The first tokens alone give what they give among all: the future might as well not exist."""
    arguments = {"x": x, "memory": memory, "self_mask": self_mask, "memory_mask": memory_mask}
    output = decoder(**arguments)
    bound = 2 * measured_bound(decoder, arguments)
    for length in {1, 2, x.shape[1] - 1}:
        alone = decoder(x[:, :length], memory)
        close(alone, output[:, :length], bound, f"the first {length} tokens alone")
    sometimes_differs(output[:, 1:], output[:, :-1], "tokens differ in their output", bound)


@law(
    *DECODERS,
    inputs=_inputs("none", least=2),
    formula="x_1 = … = x_L  ⇒  output_1 = … = output_L = f(x_1)",
    claim=TRF_09.part("and itself"),
)
def equal_tokens_are_as_one_token_alone(
    decoder: Subject,
    x: Tensor,
    memory: Tensor,
    self_mask: Tensor | None,
    memory_mask: Tensor | None,
) -> None:
    """The first token has itself to look at, and so its output is that of every copy after it."""
    copies = x[:, :1].repeat(1, x.shape[1], 1)
    output, alone = decoder(copies, memory), decoder(x[:, :1], memory)
    arguments = {"x": copies, "memory": memory, "self_mask": None, "memory_mask": None}
    bound = 2 * measured_bound(decoder, arguments)
    close(output, alone.expand_as(output), bound, "the output of each copy")
    own = decoder(x, memory, self_mask, memory_mask)
    sometimes_differs(own[:, 1:], output[:, 1:], "other tokens give another output", bound)


@law(
    *DECODERS,
    inputs=_inputs("none", least=2),
    formula="one layer: f(x_1, x_1, x_2, x_2, …)_(2i) = f(x_1, x_2, …)_i",
    claim=TRF_09.part("and itself"),
)
def saying_every_token_twice_changes_nothing(
    decoder: Subject,
    x: Tensor,
    memory: Tensor,
    self_mask: Tensor | None,
    memory_mask: Tensor | None,
) -> None:
    """The second copy looks at two of each, itself among them, which averages to the same.

    Where a token did not look at itself, or at one too many, the averages would differ.
    """
    assume(_depth(decoder) == 1)
    twice = x.repeat_interleave(2, 1)
    output = decoder(x, memory, self_mask, memory_mask)
    doubled = decoder(twice, memory)[:, 1::2]
    arguments = {"x": twice, "memory": memory, "self_mask": None, "memory_mask": None}
    bound = 2 * measured_bound(decoder, arguments)
    close(doubled, output, bound, "the output of each second copy")
    sometimes_differs(output[:, 1:], output[:, :-1], "tokens differ in their output", bound)


@law(
    *DECODERS,
    inputs=_inputs("none", least=3),
    formula="one layer: output_L does not change with the order of x_1 … x_(L−1)",
)
def the_order_of_the_past_does_not_matter_to_one_layer(
    decoder: Subject,
    x: Tensor,
    memory: Tensor,
    self_mask: Tensor | None,
    memory_mask: Tensor | None,
) -> None:
    """The mask knows what is past, and nothing knows how long ago: there are no positions here."""
    assume(_depth(decoder) == 1)
    length = x.shape[1]
    order = [*range(1, length - 1), 0, length - 1]
    arguments = {"x": x, "memory": memory, "self_mask": self_mask, "memory_mask": memory_mask}
    output, moved = decoder(**arguments), decoder(x[:, order], memory)
    bound = 2 * measured_bound(decoder, arguments)
    close(moved[:, -1], output[:, -1], bound, "the last token's output")
    sometimes_differs(moved[:, :-1], output[:, :-1], "the others' outputs change", bound)


# --- Decoder and its layer: the two masks -------------------------------------------------------
# » mask = mask if self_mask is None else mask & self_mask
# » return self._after_self_attention(x, memory, memory_mask)


@law(
    *DECODERS,
    inputs=_inputs("some", least=2),
    formula="f(x, self_mask) = f(x, self_mask ∧ causal)",
    claim=TRF_10.part("finite"),
)
def the_self_mask_only_takes_more_away(
    decoder: Subject,
    x: Tensor,
    memory: Tensor,
    self_mask: Tensor | None,
    memory_mask: Tensor | None,
) -> None:
    """Whatever a mask says of the future, the future is hidden."""
    batch, length, _ = x.shape
    allowed = _expanded(self_mask, batch, length, length)
    output = decoder(x, memory, self_mask, memory_mask)
    arguments = {"x": x, "memory": memory, "self_mask": self_mask, "memory_mask": memory_mask}
    bound = 2 * measured_bound(decoder, arguments)
    for what, other in (
        ("hides", allowed & _causal(length)),
        ("shows", allowed | ~_causal(length)),
    ):
        same = decoder(x, memory, other, memory_mask)
        close(same, output, bound, f"the output with a mask that {what} the future")
    without = decoder(x, memory, None, memory_mask)
    sometimes_differs(without, output, "the mask takes something away", bound)


@law(
    *DECODERS,
    inputs=_inputs("some", least=3),
    formula="output_i does not change with x_j where no layer lets i hear of j, bit by bit",
    dtypes=IDENTICAL_IN,
)
def what_the_self_mask_hides_cannot_reach_a_token(
    decoder: Subject,
    x: Tensor,
    memory: Tensor,
    self_mask: Tensor | None,
    memory_mask: Tensor | None,
) -> None:
    """A past token that is hidden is heard of from nobody, unless another saw it and is seen."""
    batch, length, _ = x.shape
    allowed = _expanded(self_mask, batch, length, length) & _causal(length)
    changed = x.clone()
    changed[:, 1] = _another(x[:, 1])
    output = decoder(x, memory, self_mask, memory_mask)
    other = decoder(changed, memory, self_mask, memory_mask)
    heard = _within_reach(allowed, _depth(decoder))[..., 1]  # (B, L)
    _same_rows(other, output, ~heard, "the tokens that do not hear of the changed one")
    sometimes(bool((~heard[:, 2:]).any()), "a later token does not hear of the changed one")
    reached = (other - output)[:, 2:] * heard[:, 2:, None]
    sometimes_differs(reached, torch.zeros_like(reached), "later tokens hear of the changed one")


@law(
    *DECODERS,
    inputs=_inputs("none", least=3),
    formula="f(x, self_mask)[self_mask] = f(x[self_mask])",
)
def hidden_tokens_might_as_well_not_exist_for_the_decoder(
    decoder: Subject,
    x: Tensor,
    memory: Tensor,
    self_mask: Tensor | None,
    memory_mask: Tensor | None,
) -> None:
    """Hiding tokens from all others and leaving them out are the same to those that are left."""
    keep = torch.arange(x.shape[1]) % 3 != 1
    arguments = {"x": x, "memory": memory, "self_mask": keep[None, :], "memory_mask": None}
    output, fewer = decoder(**arguments), decoder(x[:, keep], memory)
    bound = 2 * measured_bound(decoder, arguments)
    close(output[:, keep], fewer, bound, "the tokens that are left")
    shown = decoder(x, memory, self_mask, memory_mask)
    sometimes_differs(shown[:, keep], fewer, "showing the hidden tokens changes the others", bound)


@law(
    *DECODERS,
    inputs=_inputs("some", least=2),
    formula="output_i does not change with memory_s where nobody up to i may read it, bit by bit",
    dtypes=IDENTICAL_IN,
)
def what_the_memory_mask_hides_cannot_reach_a_token(
    decoder: Subject,
    x: Tensor,
    memory: Tensor,
    self_mask: Tensor | None,
    memory_mask: Tensor | None,
) -> None:
    """Hidden memory is not read; in deeper layers, not at second hand either.

    The mask of the memory is passed by itself, too: it is no mask of the decoder's own tokens.
    """
    (batch, length, _), keys = x.shape, memory.shape[1]
    readable = _expanded(memory_mask, batch, length, keys)[..., -1]  # (B, L)
    changed = memory.clone()
    changed[:, -1] = _another(memory[:, -1])
    for own in (self_mask, None):
        output = decoder(x, memory, own, memory_mask)
        other = decoder(x, changed, own, memory_mask)
        heard = _within_reach(
            _expanded(own, batch, length, length) & _causal(length), _depth(decoder) - 1
        )
        told = (heard & readable[:, None, :]).any(-1) if _depth(decoder) > 1 else readable
        _same_rows(other, output, ~told, "the tokens that may not read the changed memory")
        sometimes(bool((~told).any()), "a token may not read the changed memory")
        reached = (other - output) * told[..., None]
        sometimes_differs(reached, torch.zeros_like(reached), "who may read it changes")


@law(
    *DECODERS,
    inputs=_inputs("none", least=3),
    formula="f(x, memory, memory_mask) = f(x, memory[memory_mask])",
)
def hidden_memory_might_as_well_not_exist(
    decoder: Subject,
    x: Tensor,
    memory: Tensor,
    self_mask: Tensor | None,
    memory_mask: Tensor | None,
) -> None:
    """Hiding a part of the memory, by its mask alone, and leaving it out are the same."""
    keep = torch.arange(memory.shape[1]) % 3 != 1
    arguments = {"x": x, "memory": memory, "self_mask": None, "memory_mask": keep[None, :]}
    output, fewer = decoder(**arguments), decoder(x, memory[:, keep])
    bound = 2 * measured_bound(decoder, arguments)
    close(output, fewer, bound, "the output")
    shown = decoder(x, memory, self_mask, memory_mask)
    sometimes_differs(shown, fewer, "showing the hidden memory changes the output", bound)


@law(
    *DECODERS,
    inputs=_inputs("none", least=3),
    formula="f(x, memory, True, True) = f(x, memory)",
)
def masks_that_allow_everything_are_no_masks(
    decoder: Subject,
    x: Tensor,
    memory: Tensor,
    self_mask: Tensor | None,
    memory_mask: Tensor | None,
) -> None:
    """Allowing every token and all of the memory is the same as passing no mask."""
    arguments = {"x": x, "memory": memory, "self_mask": self_mask, "memory_mask": memory_mask}
    output = decoder(**arguments)
    bound = 2 * measured_bound(decoder, arguments)
    (batch, length, _), keys = x.shape, memory.shape[1]
    own = torch.ones(length, length, dtype=torch.bool)
    every = torch.ones(length, keys, dtype=torch.bool)
    masks = {"of its own": (own, None), "of the memory": (None, every[None].repeat(batch, 1, 1))}
    for what, (first, second) in masks.items():
        close(decoder(x, memory, first, second), output, bound, f"the output with masks {what}")
    narrower = decoder(x, memory, own.tril(), every.tril())
    sometimes_differs(narrower, output, "a mask that forbids something changes the output", bound)


@law(
    *DECODERS,
    inputs=_inputs("some", least=2),
    formula="f(…, masks) = f(…, masks expanded to (B, L, L) and (B, L, S))",
)
def both_masks_broadcast_to_the_scores(
    decoder: Subject,
    x: Tensor,
    memory: Tensor,
    self_mask: Tensor | None,
    memory_mask: Tensor | None,
) -> None:
    """A dimension of size one, or one that is missing, stands for all queries or items."""
    (batch, length, _), keys = x.shape, memory.shape[1]
    output = decoder(x, memory, self_mask, memory_mask)
    own = _expanded(self_mask, batch, length, length).contiguous()
    other = _expanded(memory_mask, batch, length, keys).contiguous()
    same = decoder(x, memory, own, other)
    arguments = {"x": x, "memory": memory, "self_mask": self_mask, "memory_mask": memory_mask}
    bound = 2 * measured_bound(decoder, arguments)
    close(same, output, bound, "the output with the masks expanded")
    without = decoder(x, memory)
    sometimes_differs(without, output, "without masks the output differs", bound)


# --- Decoder and its layer: the memory ----------------------------------------------------------
# » return self.cross_attention(x, memory, memory, memory_mask)[0]


@law(
    *DECODERS,
    inputs=_inputs("none", least=3, regimes=MODERATE),
    formula="output_t changes with memory_s for all t and s",
    claim=(TRF_11, TRF_08.part("with an encoder"), TRF_05),
)
def every_token_consults_all_of_the_memory(
    decoder: Subject,
    x: Tensor,
    memory: Tensor,
    self_mask: Tensor | None,
    memory_mask: Tensor | None,
) -> None:
    """Change one token of the memory at a time: all of the output changes, the first token's too.

    There is no past and no future in the memory.
    """
    arguments = {"x": x, "memory": memory, "self_mask": self_mask, "memory_mask": memory_mask}
    _, _, moved, bound = _moved_by_each(decoder, "memory", arguments)
    _all_sometimes(decoder, moved > bound, "every token consults every token of the memory")


@law(
    *DECODERS,
    inputs=_inputs("none", least=3),
    formula="∂output_t / ∂memory_s ≠ 0 for all t and s",
    claim=TRF_11,
)
def gradients_reach_all_of_the_memory(
    decoder: Subject,
    x: Tensor,
    memory: Tensor,
    self_mask: Tensor | None,
    memory_mask: Tensor | None,
) -> None:
    """The encoder learns from every token of the decoder, by each token of its memory."""
    variable = leaf(memory)
    output = decoder(x, variable, self_mask, memory_mask)
    for who, row in (("first", 0), ("last", x.shape[1] - 1)):
        probe = torch.sin(1.0 + torch.arange(output[:, row].numel())).to(output)
        (grad,) = gradients(output[:, row], probe.view_as(output[:, row]), variable)
        sizes = grad.abs().amax(-1)
        sometimes(bool((sizes > 0).all()), f"the {who} token is learned from by all of the memory")


@law(
    *DECODERS,
    inputs=_inputs(least=3),
    formula="f(x, P memory, memory_mask Pᵀ) = f(x, memory, memory_mask)",
    claim=TRF_11,
)
def the_order_of_the_memory_does_not_matter(
    decoder: Subject,
    x: Tensor,
    memory: Tensor,
    self_mask: Tensor | None,
    memory_mask: Tensor | None,
) -> None:
    """Cross-attention looks at the memory as at a set, and no causal mask cuts it off."""
    order = torch.arange(memory.shape[1]).roll(1)
    moved_mask = None if memory_mask is None else memory_mask[..., order]
    output = decoder(x, memory, self_mask, memory_mask)
    moved = decoder(x, memory[:, order], self_mask, moved_mask)
    arguments = {"x": x, "memory": memory, "self_mask": self_mask, "memory_mask": memory_mask}
    bound = 2 * measured_bound(decoder, arguments)
    close(moved, output, bound, "the output with the memory permuted")
    other = decoder(x, _another(memory), self_mask, memory_mask)
    sometimes_differs(other, output, "another memory gives another output", bound)


@law(
    *DECODERS,
    inputs=_inputs(),
    formula="f(x, [memory, memory]) = f(x, memory)",
    claim=TRF_12,
)
def the_memory_twice_is_the_memory_once(
    decoder: Subject,
    x: Tensor,
    memory: Tensor,
    self_mask: Tensor | None,
    memory_mask: Tensor | None,
) -> None:
    """Keys and values come from the memory, both: an average over it does not change with copies.

    A memory of any length fits a decoder of any length, since the weights are (L, S).
    """
    twice = torch.cat([memory, memory], 1)
    both = None if memory_mask is None else torch.cat([memory_mask, memory_mask], -1)
    output = decoder(x, memory, self_mask, memory_mask)
    doubled = decoder(x, twice, self_mask, both)
    arguments = {"x": x, "memory": twice, "self_mask": self_mask, "memory_mask": both}
    bound = 2 * measured_bound(decoder, arguments)
    close(doubled, output, bound, "the output with the memory twice")
    other = decoder(x, _another(memory), self_mask, memory_mask)
    sometimes_differs(other, output, "another memory gives another output", bound)


@law(
    *DECODERS,
    inputs=_inputs("none", least=2),
    formula="memory_1 = … = memory_S  ⇒  f(x, memory) = f(x, memory_1)",
    claim=TRF_12,
)
def a_memory_of_equal_tokens_is_a_memory_of_one(
    decoder: Subject,
    x: Tensor,
    memory: Tensor,
    self_mask: Tensor | None,
    memory_mask: Tensor | None,
) -> None:
    """Where all values are the same, no weights can tell: the average is that value."""
    copies = memory[:, :1].repeat(1, memory.shape[1], 1)
    output = decoder(x, memory[:, :1], self_mask, memory_mask)
    same = decoder(x, copies)
    arguments = {"x": x, "memory": copies, "self_mask": None, "memory_mask": None}
    bound = 2 * measured_bound(decoder, arguments)
    close(same, output, bound, "the output with copies of one token as memory")
    whole = decoder(x, memory, self_mask, memory_mask)
    sometimes_differs(whole, output, "the other tokens of the memory count", bound)


@law(
    *DECODERS,
    inputs=_inputs("none", least=2, regimes=MODERATE),
    formula="S = 1: output_t changes with x_j, j < t, and differs from token to token",
    against=EQ_01,
)
def with_one_token_of_memory_the_past_still_counts(
    decoder: Subject,
    x: Tensor,
    memory: Tensor,
    self_mask: Tensor | None,
    memory_mask: Tensor | None,
) -> None:
    """All weight lies on the one token; what was said so far passes by it, along the residual."""
    memory, other = memory[:, :1], x.clone()
    other[:, 0] = _another(x[:, 0])
    arguments = {"x": x, "memory": memory, "self_mask": self_mask, "memory_mask": memory_mask}
    output, changed = decoder(**arguments), decoder(other, memory)
    bound = 2 * measured_bound(decoder, arguments)
    moved = (changed - output).abs().amax(-1).double()
    sometimes(bool((moved > bound).all()), "the first token changes every output")
    sometimes_differs(output[:, 1:], output[:, :-1], "tokens differ in their output", bound)


# --- What layers and stacks have in common ------------------------------------------------------
# » EncoderLayer(d_model, n_heads, d_hidden, pre_norm=pre_norm) for _ in range(n_layers)
# » DecoderLayer(d_model, n_heads, d_hidden, pre_norm=pre_norm) for _ in range(n_layers)


def _numbers(d_model: int, d_hidden: int, n_attentions: int) -> int:
    """Count the weights of one layer at least, without biases and normalisations.

    A gated network may halve its hidden width, and has then three quarters of the usual weights.
    """
    return 4 * n_attentions * d_model**2 + 3 * d_model * d_hidden // 2


def _sizes(component: str) -> st.SearchStrategy[dict[str, Any]]:
    """Give the constructor's integers alone, for laws that count.

    Three divides each width inside: a gated network may have three matrices of two thirds of it.
    """
    depths = (1, 2, 3) if component in {*DEEP, "Transformer"} else (None,)
    words = {"source_vocab": 2, "target_vocab": 1} if component == "Transformer" else {}
    widths = (2, 8) if words else (1, 2, 8)  # positions may need an even one
    sizes = [
        {**words, "d_model": heads * width, "n_heads": heads, "d_hidden": hidden}
        | ({} if depth is None else {"n_layers": depth})
        for heads, width, hidden, depth in product((1, 2, 3, 4), widths, (3, 6, 24), depths)
        if (heads + width + hidden) % 2 or heads == hidden
    ]
    return st.sampled_from(sizes)


@law(
    *STACKS,
    "Transformer",
    inputs=_sizes,
    formula="parameters ≥ layers · (4 d² · attentions + 1.5 d · d_hidden · networks)",
    claim=TRF_03,
)
def each_sublayer_has_weights_of_its_own(stack: Subject, arguments: dict[str, int]) -> None:
    """Each attention of each layer has its four matrices, and each feed-forward network its two.

    A gated network has three, of half the hidden width at least.
    """
    widths = arguments["d_model"], arguments["d_hidden"]
    weights = sum(_numbers(*widths, attentions) for attentions in _attentions_a_layer(stack))
    least = arguments.get("n_layers", 1) * weights
    count = stack.construct(**arguments).parameter_count()
    at_least(count, torch.tensor(least), 0, "the number of parameters")


def _attentions_a_layer(stack: Subject) -> tuple[int, ...]:
    """Give the number of attentions in each kind of layer."""
    if stack.spec.name == "Transformer":
        return (1, 2)
    return (2,) if stack.spec.name in DECODERS else (1,)


@law(
    *STACKS,
    inputs=_sizes,
    formula="|parameters(H) − parameters(1)| ≤ (H + 3) d for each attention",
)
def more_heads_are_no_more_weights(stack: Subject, arguments: dict[str, int]) -> None:
    """Heads share the width; biases aside, they cost nothing."""
    heads, width = arguments["n_heads"], arguments["d_model"]
    many = stack.construct(**arguments).parameter_count()
    one = stack.construct(**{**arguments, "n_heads": 1}).parameter_count()
    slack = (heads + 3) * width * arguments.get("n_layers", 1) * sum(_attentions_a_layer(stack))
    at_most((many - one).abs(), torch.tensor(slack), 0, "the difference in parameters")
    sometimes(heads > 1, "there is more than one head")


def _several_heads(component: str) -> st.SearchStrategy[dict[str, Any]]:
    """Give inputs of layers and stacks with more than one head; few, since others show no more."""

    def inputs(case: tuple[int, tuple[int, int]]) -> dict[str, Any]:
        seed, (heads, width) = case
        sizes = {"d_model": heads * width, "n_heads": heads, "d_hidden": 5}
        sizes |= {"n_layers": 1 + seed % 2} if component in DEEP else {}
        generator = torch.Generator().manual_seed(seed)
        x = fill(generator, "normal", 2, 21 if seed == 5 else 4, heads * width)
        if component in ENCODERS:
            return {"x": x, "mask": None, "setup": Setup(sizes, seed)}
        memory = fill(generator, "normal", 2, 3, heads * width)
        masks = {"self_mask": None, "memory_mask": None}
        return {"x": x, "memory": memory, **masks, "setup": Setup(sizes, seed)}

    cases = tuple(product(range(6), ((2, 1), (2, 2), (3, 2), (4, 2))))
    return st.sampled_from(cases).map(inputs)


@law(*STACKS, inputs=_several_heads, formula="f_H ≠ f_1 with the same parameters")
def the_number_of_heads_matters(stack: Subject, arguments: dict[str, Any]) -> None:
    """Each head has weights of its own, so that several do not compute what one does."""
    assert stack.setup is not None
    own, one = stack.parameters(), stack.construct(**{**stack.setup.arguments, "n_heads": 1})
    if {n: p.shape for n, p in own.items()} != {n: p.shape for n, p in one.parameters().items()}:
        raise DoesNotApply("its parameters are stored by head")
    one.set_parameters(own)
    bound = 2 * measured_bound(stack, arguments)
    sometimes_differs(one(**arguments), stack(**arguments), "one head gives another output", bound)


def _chains(component: str) -> st.SearchStrategy[dict[str, Any]]:
    """Give stacks of a few layers, tokens, and a mask by which each sees itself and one before."""

    def inputs(case: tuple[int, int]) -> dict[str, Any]:
        seed, n_layers = case
        sizes = {"d_model": 6, "n_heads": 2, "d_hidden": 7, "n_layers": n_layers}
        generator = torch.Generator().manual_seed(seed)
        x = fill(generator, "normal", 2, n_layers + 2, 6)
        places = torch.arange(n_layers + 2)
        back = places[:, None] - places
        chain, setup = (back == 0) | (back == 1), Setup(sizes, seed)
        if component in ENCODERS:
            return {"x": x, "mask": chain, "setup": setup}
        memory = fill(generator, "normal", 2, 3, 6)
        return {"x": x, "memory": memory, "self_mask": chain, "memory_mask": None, "setup": setup}

    return st.sampled_from(tuple(product(range(4), (2, 3, 5)))).map(inputs)


@law(
    *DEEP,
    inputs=_chains,
    formula="α_ij > 0 for j ∈ {i − 1, i} alone: f_i moves with x_{i−L}, through L layers",
    dtypes=("float64",),
)
def as_many_layers_carry_a_token_as_many_places(stack: Subject, arguments: dict[str, Any]) -> None:
    """Layers stand on top of each other: what one has gathered, the next one reads.

    Where a token sees the one before it and itself, every layer carries it one place further.
    """
    x, depth = arguments["x"], _depth(stack)
    output, bound = stack(**arguments), 2 * measured_bound(stack, arguments)
    moved = stack(**{**arguments, "x": torch.cat([_another(x[:, :1]), x[:, 1:]], 1)})
    sometimes_differs(moved[:, depth], output[:, depth], "every layer carries a token on", bound)
    close(moved[:, depth + 1], output[:, depth + 1], bound, "one place further")


# --- The network inside -------------------------------------------------------------------------
# » self.feed_forward = FeedForward(d_model, d_hidden)


def _networks(component: str) -> st.SearchStrategy[dict[str, Any]]:
    """Give a few inputs of ordinary size; the hidden width is like no other."""

    def inputs(case: tuple[int, int]) -> dict[str, Any]:
        seed, n_layers = case
        sizes = {"d_model": 6, "n_heads": 2, "d_hidden": 11}
        generator = torch.Generator().manual_seed(seed)
        if component == "Transformer":
            sizes = {"source_vocab": 4, "target_vocab": 5, **sizes, "n_layers": n_layers}
            tokens = torch.randint(4, (2, 2, 3), generator=generator)
            arguments = {"source": tokens[0], "target_in": tokens[1], "source_mask": None}
            return {**arguments, "setup": Setup(sizes, seed)}
        sizes |= {"n_layers": n_layers} if component in DEEP else {}
        x, memory = (fill(generator, "normal", 2, n, 6) for n in (4, 3))
        if component in ENCODERS:
            return {"x": x, "mask": None, "setup": Setup(sizes, seed)}
        masks = {"self_mask": None, "memory_mask": None}
        return {"x": x, "memory": memory, **masks, "setup": Setup(sizes, seed)}

    return st.sampled_from(tuple(product(range(8), (1, 2)))).map(inputs)


@law(
    *STACKS,
    "Transformer",
    inputs=_networks,
    formula="F with −W_1, −W_2 or 2 W_1, W_2 / 2 for W_1, W_2, and no inner bias, is another "
    "function; an affine one is not",
    dtypes=("float64",),
)
def the_network_inside_bends(component: Subject, arguments: dict[str, Any]) -> None:
    """Between the matrices of a feed-forward network there is something that is not linear.

    Signs and factors that cancel out pass through what is linear. No activation lets both pass.
    Its matrices are those with an axis of the hidden width.
    """
    assert component.setup is not None
    width = component.setup.arguments["d_hidden"]
    inside = {n: p for n, p in component.parameters().items() if width in p.shape}
    biases = {n: torch.zeros_like(p) for n, p in inside.items() if p.numel() == max(p.shape)}
    matrices = {n: p for n, p in inside.items() if n not in biases}
    component.set_parameters(biases)
    plain = component(**arguments)
    bound = 2 * measured_bound(component, arguments)

    def changed(factor: Callable[[Tensor], float]) -> Tensor:
        component.set_parameters({n: factor(p) * p for n, p in matrices.items()})
        result: Tensor = component(**arguments)
        return result

    if not bool(((changed(lambda _: 2.0) - plain).abs() > bound).any()):
        raise DoesNotApply("no matrices with an axis of the hidden width have a say")
    opposite = changed(lambda _: -1.0)
    scaled = changed(lambda p: 0.5 if p.shape[-1] == width else 2.0)
    sometimes_differs(
        torch.stack([opposite, scaled]),
        plain.expand(2, *plain.shape),
        "signs or factors that cancel out change something",
        bound,
    )


# A pattern of signs, x; what a matrix that permutes entries makes of it, M x, and M² x, which is at
# right angles to x. All three have mean zero and variance one, and so are normalised already. The
# product of M x with itself, and with x + M x, is the same over any head's share of the entries.
_PATTERN = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
_ORDER = torch.tensor([2, 0, 1, 3])
_SHARPNESS = 0.4


def _patterns(component: str) -> st.SearchStrategy[dict[str, Any]]:
    """Give a few sizes whose heads have whole patterns or halves of them, and the tokens' size."""

    def inputs(case: tuple[tuple[int, int], float]) -> dict[str, Any]:
        (width, heads), factor = case
        sizes = {"d_model": width, "n_heads": heads, "d_hidden": width + 1}
        sizes |= {"n_layers": 1} if component in DEEP else {}
        return {"factor": factor, "setup": Setup(sizes)}

    widths = ((4, 1), (8, 1), (4, 2), (8, 2), (8, 4), (12, 3), (12, 2), (16, 8))
    return st.sampled_from(tuple(product(widths, (1.0, 2.0)))).map(inputs)


def _permuting_projections(stack: Subject, size: float) -> None:
    """Let attention's matrices permute entries, and everything else say nothing.

    A fused matrix is some square ones on top of each other; whose rows are whose is told for one
    head alone.

    Raises:
        DoesNotApply: the parameters are stored in another way.
    """
    assert stack.setup is not None
    width, heads = (stack.setup.arguments[name] for name in ("d_model", "n_heads"))
    permuting = size * torch.eye(width).view(-1, 4, width)[:, _ORDER].flatten(0, 1)
    values, squares, fused = {}, 0, False
    for name, old in stack.parameters().items():
        count = old.shape[0] // width if old.dim() == 2 and old.shape[1] == width else 0
        if count and old.shape[0] == count * width:
            values[name] = permuting.repeat(count, 1)
            squares, fused = squares + count, fused or count > 1
        elif not bool((old == 1).all()):
            values[name] = torch.zeros_like(old)
    if squares != 4 * sum(_attentions_a_layer(stack)):
        raise DoesNotApply("its attentions have no four square matrices each")
    assume(heads == 1 or not fused)
    stack.set_parameters(values)


def _opposites(stack: Subject) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Give the pattern, (D,), its opposite and itself as two tokens, and a memory that is zero."""
    assert stack.setup is not None
    x = _PATTERN.repeat(stack.setup.arguments["d_model"] // 4)
    pair = torch.stack([-x, x])[None]
    return x, pair, {"memory": torch.zeros_like(pair)} if stack.spec.name in DECODERS else {}


def _share(output: Tensor) -> Tensor:
    """Give how much of M² x there is in the last token, for each part of x."""
    last = output[0, -1].double()
    x = _PATTERN.repeat(len(last) // 4)
    return (last @ x.view(-1, 4)[:, _ORDER][:, _ORDER].flatten()) / (last @ x)


def _nearest(found: Tensor, *candidates: float) -> Tensor:
    return min((found.new_tensor(c) for c in candidates), key=lambda c: float((c - found).abs()))


def _read_as_meant(stack: Subject, factor: float, gain: float, bound: float) -> None:
    """Make sure, by one token alone, that matrices and normalisations are what they are taken for.

    Where a token sees itself alone, its scores make no difference.

    Raises:
        DoesNotApply: matrices are stored the other way round; what was set to zero is a gain, a
            length or a scale, so that attention says nothing or the layer gives no number; or ε is
            another one.
    """
    x, _, nothing = _opposites(stack)
    output = stack(x=factor * x.view(1, 1, -1), **{name: m[:, :1] for name, m in nothing.items()})
    found = _share(output)
    known = _nearest(found, gain, gain / factor)
    off = float((found - known).abs())
    silent = not bool(found.abs() > bound)
    if silent or not bool(output.isfinite().all()) or bound < off <= _ANOTHER_EPS * abs(known):
        raise DoesNotApply("one token alone shows that its parameters mean something else")


# Another ε moves what attention says by less than this share, and no mistake by as little.
_ANOTHER_EPS = 0.02


@law(
    *STACKS,
    inputs=_patterns,
    formula="W = g M for q, k, v, o, F = 0: f(±x) ∝ x + t M² x with t = g² tanh(g² √d_h), or, "
    "for tokens a x, t = g² tanh(a² g² √d_h) for post-norm and g² tanh(g² √d_h) / a for pre-norm",
    dtypes=("float64",),
)
def scores_are_scaled_by_the_width_of_a_head(stack: Subject, factor: float) -> None:
    """With weights that are known, what attention says tells by how much its scores are divided.

    One token looks at itself and at its opposite. Both are normalised already, up to their size,
    so that a pre-norm layer looks at the same at any size, and a post-norm layer at larger ones.
    What one attention adds to the token is at right angles to it, and its share is left as it is
    by normalisations.
    """
    assert stack.setup is not None
    width, heads = (stack.setup.arguments[name] for name in ("d_model", "n_heads"))
    gain = _SHARPNESS / math.sqrt(width // heads)  # g²
    _permuting_projections(stack, math.sqrt(gain))
    x, pair, nothing = _opposites(stack)

    # ε takes away its half at most of a token, of each of the two in a score, and of a value.
    bound = 2 * gain * LAYER_NORM_EPS * factor**2 + math.sqrt(unit_roundoff(torch.float64))
    _read_as_meant(stack, factor, gain, bound)
    output = stack(x=factor * pair, **nothing)
    pre, post = math.tanh(_SHARPNESS) / factor, math.tanh(factor**2 * _SHARPNESS)
    found = _share(output)
    close(found, _nearest(found, gain * pre, gain * post), bound, "what self-attention adds")
    sometimes_differs(output, factor * pair, "attention adds something")
    if not nothing:
        return
    found, candidates = _share(stack(factor * x.view(1, 1, -1), factor * pair)), []
    for seen in (factor, 1.0):  # whoever normalises the memory, too, reads it at size one
        size = math.hypot(factor, gain)
        added = seen * math.tanh(seen * factor / size * _SHARPNESS)
        candidates.append(gain * (1 + added) / factor)
        size = math.hypot(1, gain)
        added = seen * math.tanh(seen / size * _SHARPNESS)
        candidates.append(gain * (1 + size * added))
    close(found, _nearest(found, *candidates), 2 * bound, "what both attentions add")


@law(
    *STACKS,
    inputs=_patterns,
    formula="x may see −x alone, at a score of −5 · 10⁴: f(x) ∝ x − g² M² x, or x − g² M² x / a",
    dtypes=("float64",),
)
def a_key_stays_hidden_however_low_the_others_score(stack: Subject, factor: float) -> None:
    """What stands for minus infinity is below any score that there may be.

    With weights that are known, all that a token may look at scores far below what it may not. A
    constant such as −10⁴ in place of minus infinity hides the wrong one.
    """
    assert stack.setup is not None
    width, heads = (stack.setup.arguments[name] for name in ("d_model", "n_heads"))
    gain = 5e4 / math.sqrt(width // heads) / factor**2  # g²; a post-norm layer reads larger tokens
    _permuting_projections(stack, math.sqrt(gain))
    x, pair, nothing = _opposites(stack)
    hides = "self_mask" if nothing else "mask"
    mask = torch.tensor([[True, False], [True, False]])
    # ε takes away its half at most of a value.
    bound = gain * (LAYER_NORM_EPS + math.sqrt(unit_roundoff(torch.float64)))
    _read_as_meant(stack, factor, gain, bound)
    output = stack(x=factor * pair, **nothing, **{hides: mask})
    found = _share(output)
    close(found, _nearest(found, -gain, -gain / factor), bound, "what the one that is seen adds")
    sometimes_differs(output[:, -1], factor * x[None], "attention adds something")


@law(
    *STACKS,
    inputs=_inputs("none", least=3, regimes=MODERATE),
    formula="∂f / ∂W ≠ 0 for every weight matrix W",
    claim=TRF_03,
)
def every_matrix_learns(stack: Subject, arguments: dict[str, Any]) -> None:
    """Each matrix of each layer has a say in the output, and so a gradient.

    Biases are left out: that of the keys moves all scores of a query alike, and rightly has none.
    """
    _every_matrix_has_a_gradient(stack, arguments)


def _parameter_gradients(stack: Subject, arguments: dict[str, Any]) -> dict[str, Tensor]:
    floating = [v for v in arguments.values() if isinstance(v, Tensor)]
    with stack.learning():
        output = stack(**arguments)
    probe = torch.sin(1.0 + torch.arange(output.numel())).to(output).view_as(output)
    return stack.parameter_gradients(weighted_sum(output, probe, *floating))


def _every_matrix_has_a_gradient(stack: Subject, arguments: dict[str, Any]) -> None:
    found = _parameter_gradients(stack, arguments)
    matrices = {n: grad for n, grad in found.items() if grad.dim() >= 2 and min(grad.shape) >= 2}
    if not matrices:
        raise DoesNotApply("it stores no weights as matrices")
    for name, grad in matrices.items():
        deep = f"{name} has a gradient, {_depth(stack)} layers deep"
        sometimes_differs(grad, torch.zeros_like(grad), deep)


def _six_layers(component: str, width: int = 4, hidden: int = 6) -> Any:
    """Give a few stacks that are deeper than others: that a layer is used is seen at once."""

    def inputs(seed: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(seed)
        names = ("x", "memory") if component == "Decoder" else ("x",)
        length = (3, 4, 3, 21)[seed % 4]
        tokens = {n: fill(generator, "normal", 1, length, width) for n in names}
        sizes = {"d_model": width, "n_heads": 2, "d_hidden": hidden, "n_layers": 6}
        return {**tokens, "setup": Setup(sizes, seed)}

    return st.integers(0, 11).map(inputs)


@law(
    *DEEP,
    inputs=_six_layers,
    formula="∂f / ∂W ≠ 0 for every weight matrix W of six layers",
    claim=TRF_03,
)
def all_of_six_layers_learn(stack: Subject, arguments: dict[str, Any]) -> None:
    """A stack may be deeper than those that one tries first, and uses all of its layers."""
    _every_matrix_has_a_gradient(stack, arguments)


@law(
    *DEEP,
    inputs=lambda component: _six_layers(component, width=32, hidden=3),
    formula="entries of ∂f / ∂W that are not zero ≥ 6 · 4 d² · attentions",
    claim=TRF_03,
    dtypes=("float64",),
)
def six_layers_learn_the_weights_of_six(stack: Subject, arguments: dict[str, Any]) -> None:
    """As many weights learn as the attentions of six layers have.

    Weights are counted one by one, since a stack may store those of all its layers together. The
    layers are wide, and their networks narrow, so that what else there is does not make up for the
    attentions of a layer that is not used.
    """
    found = _parameter_gradients(stack, arguments)
    count = torch.stack([torch.count_nonzero(slope) for slope in found.values()]).sum()
    width = arguments["x"].shape[-1]
    least = 6 * 4 * width**2 * sum(_attentions_a_layer(stack))
    sometimes(int(count) >= least, f"{least} weights learn, as many as six layers' attentions have")


@law(
    *DEEP,
    inputs=_sizes,
    formula="parameters(7) − parameters(2) = 5 (parameters(2) − parameters(1)) > 0",
    claim=TRF_03,
)
def every_layer_has_as_many_parameters(stack: Subject, arguments: dict[str, int]) -> None:
    """One layer more costs as many parameters each time: no layer is used twice, none is lost."""
    one, two, seven = (
        stack.construct(**{**arguments, "n_layers": n}).parameter_count() for n in (1, 2, 7)
    )
    identical(seven - two, 5 * (two - one), "what five layers add, against what the second does")
    at_least(two - one, torch.tensor(1), 0, "what the second layer adds")


@law(
    *STACKS,
    inputs=_inputs("some", regimes=WITHIN_HALF_PRECISION),
    formula="in float32, bfloat16 and float16: no NaN, with masks and with a row without any key",
    dtypes=("float32", "bfloat16", "float16"),
    kind="robustness",
)
def masks_leave_no_nan_in_low_precision(stack: Subject, arguments: dict[str, Any]) -> None:
    """A constant that hides a token in float64 may overflow in float16."""
    output = stack(**arguments)
    finite(output, "the output")
    finite(stack(**_with_an_empty_row(arguments)), "the output with a token that sees nothing")
    sometimes_differs(output, output.roll(1, -1), "entries of the output differ")


@law(
    *STACKS,
    inputs=_inputs("none", least=2),
    formula="no allowed key  ⇒  finite output and gradients",
    kind="robustness",
)
def a_token_that_sees_nothing_stays_finite(stack: Subject, arguments: dict[str, Any]) -> None:
    """A row that is masked all over gives numbers, and training survives it."""
    emptied = _with_an_empty_row(arguments)
    floating = {
        n: leaf(v) for n, v in arguments.items() if isinstance(v, Tensor) and v.is_floating_point()
    }
    output = stack(**{**emptied, **floating})
    finite(output, "the output")
    for name, grad in zip(
        floating, gradients(output, torch.ones_like(output), *floating.values()), strict=True
    ):
        finite(grad, f"the gradient by {name}")
    sometimes_differs(output, output.roll(1, -1), "entries of the output differ")


def _with_an_empty_row(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Hide everything from the first token, in every mask there is."""
    length = arguments["x"].shape[1]
    emptied = {**arguments}
    for name, other in (("mask", "x"), ("self_mask", "x"), ("memory_mask", "memory")):
        if name in arguments:
            mask = torch.ones(length, arguments[other].shape[1], dtype=torch.bool)
            mask[0] = False
            emptied[name] = mask
    return emptied


# --- Proofs about the encoder -------------------------------------------------------------------


def _random(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _made(cls: Callable[..., Any], *arguments: int) -> Any:
    """Construct a module in float64, with random values in all parameters, biases too."""
    module = cls(*arguments).double().eval()
    for seed, parameter in enumerate(module.parameters()):
        parameter.data = _random(tuple(parameter.shape), seed)
    return module


def _parameters(module: Any) -> int:
    return sum(p.numel() for p in module.parameters())


@proof(
    "Encoder",
    method="exhaustive",
    formula="parameters(d, L) = L (12 d² + 13 d) with d_hidden = 4 d",
    claim=TRF_03,
)
def an_encoder_has_twelve_squares_a_layer(encoder: Callable[..., Any]) -> None:
    """Count at widths 1 to 12 and depths 1 to 4, with one head and with as many as the width.

    The count is a polynomial of degree two in d and one in L, as a sum of products of sizes: three
    widths and two depths would settle it. Four d² are attention's, eight the feed-forward
    network's; nine d are biases, four the two normalisations'.
    """
    for d in range(1, 13):
        for depth in range(1, 5):
            for heads in {1, d}:
                found = _parameters(encoder(d, heads, 4 * d, depth))
                expected = depth * (12 * d**2 + 13 * d)
                assert found == expected, f"{found} parameters at d = {d}, L = {depth}"


@proof(
    "Decoder",
    method="exhaustive",
    formula="parameters(d, L) = L (16 d² + 19 d) with d_hidden = 4 d",
    claim=TRF_03,
)
def a_decoder_has_sixteen_squares_a_layer(decoder: Callable[..., Any]) -> None:
    """Count as for the encoder: one attention more, with its own normalisation."""
    for d in range(1, 13):
        for depth in range(1, 5):
            found = _parameters(decoder(d, 1, 4 * d, depth))
            expected = depth * (16 * d**2 + 19 * d)
            assert found == expected, f"{found} parameters at d = {d}, L = {depth}"


@proof(
    "Encoder",
    method="structural",
    formula="f = B_L ∘ … ∘ B_1, bit by bit; the memory is B_L's output, (n, d)",
    claim=(TRF_03, TRF_04.part("memory")),
)
def an_encoder_is_its_layers_one_after_another(encoder: Callable[..., Any]) -> None:
    """Run the layers by hand, in order: the stack gives the same numbers, and all of them.

    Exchanging any two layers changes the result, which shows that order and depth are as said.
    """
    for depth, n in ((1, 3), (2, 1), (3, 4), (5, 2)):
        module, x = _made(encoder, 4, 2, 5, depth), _random((2, n, 4), 99)
        assert len(module.layers) == depth, f"{len(module.layers)} layers for {depth}"
        _layers_in_order(module, x, (_causal(n),))


@proof(
    "Decoder",
    method="structural",
    formula="x ← B_l(x, memory, masks) for l = 1 … L, bit by bit",
    claim=(TRF_03, EQ_02.part("repeated")),
)
def a_decoder_is_its_layers_one_after_another(decoder: Callable[..., Any]) -> None:
    """Run the layers by hand, each with the same memory: the stack gives the same numbers."""
    for depth, n, m in ((1, 3, 2), (2, 1, 3), (3, 4, 2), (5, 2, 1)):
        module, x, memory = (
            _made(decoder, 4, 2, 5, depth),
            _random((2, n, 4), 99),
            _random((2, m, 4), 98),
        )
        other = torch.arange(m)[None, :] != 1
        assert len(module.layers) == depth, f"{len(module.layers)} layers for {depth}"
        _layers_in_order(module, x, (memory, _causal(n), other))


def _layers_in_order(module: Any, x: Tensor, rest: tuple[Any, ...]) -> None:
    with torch.no_grad():
        whole = module(x, *rest)
        by_hand = x
        for layer in module.layers:
            by_hand = layer(by_hand, *rest)
        assert whole.shape == x.shape, f"the result has shape {tuple(whole.shape)}"
        assert torch.equal(whole, by_hand), "the stack is not its layers in order"
        if len(module.layers) > 1:
            backwards = x
            for layer in reversed(module.layers):
                backwards = layer(backwards, *rest)
            assert not torch.equal(whole, backwards), "the order of the layers makes no difference"


# --- Proofs about the decoder -------------------------------------------------------------------

DECODED = (
    # constructor without depth, lengths of target and memory
    ((2, 1, 3), 3, 2),
    ((4, 2, 3), 2, 3),
    ((2, 2, 2), 2, 2),
)


def _traced_decoder(
    cls: Callable[..., Any], arguments: tuple[int, ...], length: int, keys: int
) -> tuple[Tensor, Tensor, set[Any]]:
    """Give what outputs may depend on: target tokens, memory, and all names."""
    x = traced("x", 1, length, arguments[0], axes=2)
    memory = traced("memory", 1, keys, arguments[0], axes=2)
    result = traced_module(cls, *arguments)(x, memory)
    names = {name for found in dependence(result).flat for name, *_ in found}
    return reach(result, x)[0, :, 0], reach(result, memory)[0, :, 0], names


def _influences(
    cls: Callable[..., Any], arguments: tuple[int, ...], length: int, keys: int
) -> tuple[Tensor, Tensor]:
    """Give which tokens do have a gradient, in one example."""
    module = _made(cls, *arguments)
    x, memory = leaf(_random((1, length, arguments[0]), 99)), leaf(_random((1, keys, arguments[0])))
    output = module(x, memory)
    found: tuple[list[Tensor], list[Tensor]] = ([], [])
    for row in range(length):
        grads = torch.autograd.grad(
            (output[0, row] * _random(tuple(output.shape[-1:]), 7)).sum(),
            (x, memory),
            retain_graph=True,
            materialize_grads=True,
        )
        for kept, grad in zip(found, grads, strict=True):
            kept.append(grad[0].abs().amax(-1) > 0)
    return torch.stack(found[0]), torch.stack(found[1])


def _require_dependence(cls: Callable[..., Any], depth: tuple[int, ...]) -> None:
    for sizes, length, keys in DECODED:
        arguments = (*sizes, *depth)
        own, other, names = _traced_decoder(cls, arguments, length, keys)
        assert torch.equal(own, _causal(length)), f"outputs may depend on targets: {own.tolist()}"
        assert bool(other.all()), f"outputs may depend on the memory: {other.tolist()}"
        assert names == {"x", "memory"}, f"outputs may depend on {names}"
        witnessed, of_memory = _influences(cls, (4, *sizes[1:], *depth), length, keys)
        assert torch.equal(witnessed, own), f"gradients by targets: {witnessed.tolist()}"
        assert torch.equal(of_memory, other), f"gradients by the memory: {of_memory.tolist()}"


@proof(
    "DecoderLayer",
    method="structural",
    formula="dep(output_t) = {x_1 … x_t} ∪ {memory_1 … memory_n}",
    claim=(TRF_05, TRF_10.part("finite"), TRF_11),
)
def a_layers_output_depends_on_the_past_and_the_memory(decoder: Callable[..., Any]) -> None:
    """Trace the code for all values at once: a later token is in no set of an earlier output.

    That the sets are not too large is shown by an example, in which every gradient that may be
    there is there. The sizes are small; lengths and widths enter the code as ranges alone.
    """
    _require_dependence(decoder, ())


@proof(
    "Decoder",
    method="structural",
    formula="dep(output_t) = {x_1 … x_t} ∪ {memory_1 … memory_n}, for two layers",
    claim=(TRF_05, TRF_10.part("finite"), TRF_11),
)
def a_stacks_output_depends_on_the_past_and_the_memory(decoder: Callable[..., Any]) -> None:
    """Trace two layers: what is causal twice is causal, and so on for any depth."""
    _require_dependence(decoder, (2,))


def _attentions(module: Any, *inputs: Any) -> list[tuple[tuple[Any, ...], Any]]:
    """Give what each attention inside a module was asked, and its weights, in order."""
    found: list[tuple[tuple[Any, ...], Any]] = []

    def hear(_: Any, asked: tuple[Any, ...], answer: Any) -> None:
        if isinstance(answer, tuple) and len(asked) >= 3:
            found.append((asked, answer[1]))

    hooks = [inner.register_forward_hook(hear) for inner in module.modules()]
    module(*inputs)
    for hook in hooks:
        hook.remove()
    return found


@proof(
    "DecoderLayer",
    method="structural",
    formula="α_ij = 0 for j > i, exactly, and α_ij > 0 for j ≤ i",
    claim=(TRF_09.part("and itself"), TRF_10.part("finite")),
)
def a_token_attends_to_itself_and_to_all_before_it(decoder: Callable[..., Any]) -> None:
    """Listen to the self-attention inside: its weights are positive where the mask is True.

    A softmax of finite scores is positive, and of −∞ exactly zero: for traced scores the weights of
    the future are the constant 0, whatever the tokens are.
    """
    for n in (1, 2, 5):
        module = _made(decoder, 4, 2, 3)
        (_, weights), *_ = _attentions(module, _random((2, n, 4), 99), _random((2, 3, 4), 98))
        causal = _causal(n).expand_as(weights)
        assert torch.equal(weights > 0, causal), "the weights are not those of a causal mask"
        assert bool((weights[~causal] == 0).all()), "a future token has some weight"
        inside = traced_module(decoder, 2, 1, 2)
        x, memory = traced("x", 1, n, 2, axes=2), traced("memory", 1, 1, 2, axes=2)
        (_, unknown), *_ = _attentions(inside, x, memory)
        hidden = ~_causal(n).expand(unknown.shape).numpy()
        assert all(entry == 0 for entry in unknown.entries[hidden]), "a weight may not be zero"


@proof(
    "DecoderLayer",
    method="structural",
    formula="dep(Q) = {x}, dep(K) = dep(V) = {memory}, α ∈ R^(m×n)",
    claim=TRF_12,
)
def queries_come_from_the_decoder_keys_and_values_from_the_memory(
    decoder: Callable[..., Any],
) -> None:
    """Listen to the cross-attention inside, and trace what it is asked, for all values."""
    for m, n in ((3, 2), (2, 3), (1, 4), (2, 2)):
        inside = traced_module(decoder, 2, 1, 3)
        x, memory = traced("x", 1, m, 2, axes=2), traced("memory", 1, n, 2, axes=2)
        asked = _attentions(inside, x, memory)
        assert len(asked) == 2, f"a decoder layer attends {len(asked)} times"
        (query, key, value, *_), weights = asked[1]
        assert weights.shape == (1, 1, m, n), f"the weights are {tuple(weights.shape)}"
        sources = [
            {name for found in dependence(tensor).flat for name, *_ in found}
            for tensor in (query, key, value)
        ]
        assert sources == [{"x"}, {"memory"}, {"memory"}], f"query, key and value know {sources}"


@proof(
    "DecoderLayer",
    method="structural",
    formula="S = 1: FFN(Attention(SelfAttention(x), memory, memory)) is free of x",
    against=EQ_01,
)
def the_equations_as_written_forget_the_words_so_far(decoder: Callable[..., Any]) -> None:
    """Put the layer's own three sublayers into one another as the notes do, with one memory token.

    On symbols, cross-attention then gives the same for any two queries, and at any two positions,
    whatever the weights are; and the queries are all that the words so far enter. In numbers the
    difference between two prefixes is exactly zero. The layer itself, with the same parameters,
    tells them apart: it has residuals.
    """
    for heads in (1, 2):
        inside, _ = symbolic.symbolic_module(decoder, 2, heads, 2)
        memory = symbolic.symbols("memory", 1, 1, 2)
        one, other = (
            inside.cross_attention(symbolic.symbols(name, 1, 2, 2), memory, memory)[0]
            for name in ("one", "other")
        )
        assert symbolic.equal(one, other), "the query has a say in what one memory token gives"
        assert symbolic.equal(one[:, :1], one[:, 1:]), "what it gives differs by position"
    with torch.no_grad():
        module, token = _made(decoder, 4, 2, 5), _random((1, 1, 4))
        first, second = _random((1, 5, 4), 1), _random((1, 5, 4), 2)
        written, different = (_as_written(module, x, token) for x in (first, second))
        assert torch.equal(written, different), "as written, prefixes can be told apart"
        layer, elsewhere = module(first, token), module(second, token)
        assert bool((layer != elsewhere).any(-1).all()), "the layer forgets the words so far"
        assert bool((layer[:, 1:] != layer[:, :-1]).any(-1).all()), "the layer's tokens are alike"


def _as_written(layer: Any, x: Any, memory: Any) -> Any:
    """Do what the three equations of the notes say, and nothing else."""
    own = layer.self_attention(x, x, x, _causal(x.shape[1]))[0]
    cross = layer.cross_attention(own, memory, memory)[0]
    return layer.feed_forward(cross)


# --- What is not so -----------------------------------------------------------------------------


def _some_tokens(component: str, length: int = 2) -> dict[str, Any]:
    """Give a small input of different tokens, whose module is drawn from seed 0."""
    sizes = {"d_model": 4, "n_heads": 1, "d_hidden": 1}
    x = torch.eye(4, dtype=torch.float64)[None, :length]
    if component == "Encoder":
        return {"x": x, "mask": None, "setup": Setup({**sizes, "n_layers": 1})}
    masks = {"self_mask": None, "memory_mask": None}
    return {"x": x, "memory": x[:, :1], **masks, "setup": Setup(sizes)}


@refutation(
    "Encoder",
    claim=TRF_04.part("compression"),
    formula="rank ∂memory / ∂x ≤ d for any number of tokens",
    inputs=layer_inputs("Encoder", "none", 3, MODERATE),
    pinned=_some_tokens("Encoder", 3),
)
def the_memory_says_no_more_than_one_vector_could(
    encoder: Subject, x: Tensor, mask: Tensor | None
) -> None:
    """What the memory can tell of its input grows with the input: it is a token for a token.

    A summary in one vector, such as a recurrent encoder gives, moves in d directions at most.
    """
    assume(x[0].numel() <= 24)
    found, width = _rank(encoder, x[:1], mask), x.shape[-1]
    at_most(torch.tensor(found), torch.tensor(width), 0, "in how many directions the memory moves")


def _rank(encoder: Subject, x: Tensor, mask: Tensor | None) -> int:
    """Give the rank of the derivative of all of the memory by all of the input."""
    variable = leaf(x)
    memory = encoder(variable, mask)
    units = torch.eye(memory.numel()).to(memory).view(-1, *memory.shape)
    rows = [gradients(memory, unit, variable)[0].flatten() for unit in units]
    rounding = unit_roundoff(memory.dtype) ** 0.5
    return int(torch.linalg.matrix_rank(torch.stack(rows).double(), rtol=rounding))


@refutation(
    "Encoder",
    claim=TRF_08.part("decoder alone"),
    formula="causal and L layers deep  ⇒  parameters ≥ L (8 d² + 2 d · d_hidden)",
    inputs=layer_inputs("Encoder", "none", 2),
    pinned=_some_tokens("Encoder"),
)
def every_causal_stack_has_two_attentions_a_layer(
    encoder: Subject, x: Tensor, mask: Tensor | None
) -> None:
    """An encoder under a causal mask is a decoder: past tokens alone decide. It attends once."""
    del mask
    causal = _causal(x.shape[1])
    output, other = (
        encoder(x, causal),
        encoder(torch.cat([x[:, :1], _another(x[:, 1:])], 1), causal),
    )
    assume(torch.equal(output[:, :1], other[:, :1]) and not torch.equal(output, other))
    assert encoder.setup is not None
    sizes = encoder.setup.arguments
    least = _depth(encoder) * _numbers(sizes["d_model"], sizes["d_hidden"], 2)
    at_least(encoder.parameter_count(), torch.tensor(least), 0, "the parameters of two attentions")


@refutation(
    "MultiHeadAttention",
    claim=EQ_01,
    formula="S = 1: Attention(q, k, v) ≠ Attention(q′, k, v) for some q and q′",
    inputs=attention_inputs("MultiHeadAttention", "none"),
    pinned={
        "query": torch.zeros(1, 1, 1, dtype=torch.float64),
        "key": torch.zeros(1, 1, 1, dtype=torch.float64),
        "value": torch.zeros(1, 1, 1, dtype=torch.float64),
        "mask": None,
        "setup": Setup({"d_model": 1, "n_heads": 1}),
    },
)
def what_is_read_from_one_token_tells_who_asked(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """The first equation reaches the third through the query alone, and here that is no way.

    All that the decoder has said so far is in the query; with one key there is nothing to choose.
    """
    one, other = (
        attention(asked, key[:, :1], value[:, :1], mask)[0] for asked in (query, _another(query))
    )
    moved = (one - other).abs().amax()
    above(moved, torch.zeros_like(moved), "how far another query moves the output")


@refutation(
    SDPA,
    claim=TRF_09.part("strictly past"),
    formula="mask_ij = (j < i)  ⇒  Σ_j α_ij = 1 for every i",
    inputs=attention_inputs(SDPA, "none"),
    pinned={
        "query": torch.zeros(1, 1, dtype=torch.float64),
        "key": torch.zeros(1, 1, dtype=torch.float64),
        "value": torch.zeros(1, 1, dtype=torch.float64),
        "mask": None,
    },
)
def looking_at_the_past_alone_gives_weights_that_sum_to_one(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """The first token has no past: there is nothing that its weights could be given to."""
    del mask
    past = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool).tril(-1)
    _, weights = attention(query, key, value, past)
    total = weights[..., 0, :].sum(-1)
    at_least(total, torch.ones_like(total), 0.5, "the sum of the first token's weights")


@refutation(
    "DecoderLayer",
    claim=TRF_10.part("not a number"),
    formula="x_L = NaN  ⇒  output_1 … output_(L−1) are numbers",
    inputs=layer_inputs("DecoderLayer", "none", 2),
    pinned=_some_tokens("DecoderLayer"),
)
def a_future_that_is_no_number_does_not_reach_the_past(
    decoder: Subject,
    x: Tensor,
    memory: Tensor,
    self_mask: Tensor | None,
    memory_mask: Tensor | None,
) -> None:
    """A weight of zero hides any number; zero times NaN is NaN."""
    broken = x.clone()
    broken[:, -1] = torch.nan
    output = decoder(broken, memory, self_mask, memory_mask)
    finite(output[:, :-1], "the outputs before the NaN")
