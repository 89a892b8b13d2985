"""Strangers of the decoder's layer."""

from __future__ import annotations

from tests.strangers import Edit, Stranger

__all__ = ["STRANGERS"]


STRANGERS: tuple[Stranger, ...] = (
    Stranger(
        "DecoderLayer",
        "not_causal",
        "There is no causal mask.",
        edits=(
            Edit(
                "mask = causal_mask(x.shape[1]).to(x.device)",
                "mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device)",
            ),
        ),
        mistake="the causal mask is missing",
    ),
    Stranger(
        "DecoderLayer",
        "mask_replaces_causal",
        "A given self_mask replaces the causal mask instead of adding to it.",
        edits=(Edit("mask = mask & self_mask", "mask = self_mask"),),
        style=("post",),
        mistake="the decoder does not apply all of its masks",
    ),
    Stranger(
        "DecoderLayer",
        "mask_or",
        "self_mask and the causal mask are joined by or instead of and.",
        edits=(Edit("mask = mask & self_mask", "mask = mask | self_mask"),),
        mistake="the decoder does not apply all of its masks",
    ),
    Stranger(
        "DecoderLayer",
        "self_mask_ignored",
        "self_mask is ignored.",
        edits=(Edit("mask = mask & self_mask", "pass"),),
        style=("post",),
        mistake="the decoder does not apply all of its masks",
    ),
    Stranger(
        "DecoderLayer",
        "self_mask_inverted",
        "self_mask is inverted.",
        edits=(Edit("mask = mask & self_mask", "mask = mask & ~self_mask"),),
        mistake="the mask has the other polarity",
    ),
    Stranger(
        "DecoderLayer",
        "memory_mask_ignored",
        "memory_mask is ignored.",
        edits=(Edit("memory, memory, memory_mask)", "memory, memory)"),),
        mistake="the decoder does not apply all of its masks",
    ),
    Stranger(
        "DecoderLayer",
        "memory_mask_inverted",
        "memory_mask is inverted.",
        edits=(
            Edit(
                "memory, memory, memory_mask)",
                "memory, memory, None if memory_mask is None else ~memory_mask)",
            ),
        ),
        style=("post",),
        mistake="the mask has the other polarity",
    ),
    Stranger(
        "DecoderLayer",
        "memory_mask_first",
        "memory_mask of the first item of the batch is used for all.",
        edits=(
            Edit(
                "x = x + self.cross_attention(self.norm2(x), memory, memory, memory_mask)[0]",
                """
                x = (
                    x
                    + self.cross_attention(
                        self.norm2(x),
                        memory,
                        memory,
                        memory_mask
                        if memory_mask is None or memory_mask.dim() < 3
                        else memory_mask[:1],
                    )[0]
                )
                """,
            ),
        ),
        mistake="every item gets the mask of the first",
        also=("what belongs to the first item of a batch serves all",),
    ),
    Stranger(
        "DecoderLayer",
        "masks_swapped_when_square",
        (
            "Where source and target are equally long, memory_mask is applied to the "
            "self-attention instead."
        ),
        edits=(
            Edit(
                "return self.run(x, x, memory, mask, memory_mask)",
                """
                if memory_mask is not None and memory.shape[1] == x.shape[1]:
                    mask, memory_mask = mask & memory_mask, None
                return self.run(x, x, memory, mask, memory_mask)
                """,
            ),
        ),
        mistake="a mask goes to the wrong one of the decoder's two attentions",
    ),
    Stranger(
        "DecoderLayer",
        "reads_itself",
        "The cross-attention reads the target instead of the memory where the lengths agree.",
        edits=(
            Edit(
                "x = x + self.cross_attention(self.norm2(x), memory, memory, memory_mask)[0]",
                """
                source = x if x.shape == memory.shape else memory
                x = x + self.cross_attention(self.norm2(x), source, source, memory_mask)[0]
                """,
            ),
        ),
        mistake="the source does not reach the decoder",
    ),
    Stranger(
        "DecoderLayer",
        "cross_causal",
        "The cross-attention is causal too: target t sees source up to t.",
        edits=(
            Edit(
                "x = x + self.cross_attention(self.norm2(x), memory, memory, memory_mask)[0]",
                """
                tri = torch.ones(
                    x.shape[1], memory.shape[1], dtype=torch.bool, device=x.device
                ).tril()
                memory_mask = tri if memory_mask is None else memory_mask & tri
                x = x + self.cross_attention(self.norm2(x), memory, memory, memory_mask)[0]
                """,
            ),
        ),
        mistake="the future is hidden where nobody asked for it",
    ),
    Stranger(
        "DecoderLayer",
        "cross_first",
        "The cross-attention comes before the self-attention.",
        edits=(
            Edit(
                """
                a, s = self.norm1(x), self.norm1(seen)
                x = x + self.self_attention(a, s, s, mask)[0]
                x = x + self.cross_attention(self.norm2(x), memory, memory, memory_mask)[0]
                """,
                """
                x = x + self.cross_attention(self.norm2(x), memory, memory, memory_mask)[0]
                a = s = self.norm1(x)
                x = x + self.self_attention(a, s, s, mask)[0]
                """,
            ),
        ),
        mistake="the sublayers are in another order",
    ),
    Stranger(
        "DecoderLayer",
        "no_cross_residual",
        "The residual around the cross-attention is missing.",
        edits=(
            Edit(
                "x = x + self.cross_attention(self.norm2(x), memory, memory, memory_mask)[0]",
                "x = self.cross_attention(self.norm2(x), memory, memory, memory_mask)[0]",
            ),
        ),
        mistake="the residual connection is missing",
    ),
    Stranger(
        "DecoderLayer",
        "no_cross_residual_post",
        "The residual around the cross-attention is missing (post-norm).",
        edits=(
            Edit(
                "x = self.norm2(x + self.cross_attention(x, memory, memory, memory_mask)[0])",
                "x = self.norm2(self.cross_attention(x, memory, memory, memory_mask)[0])",
            ),
        ),
        style=("post",),
        mistake="the residual connection is missing",
    ),
    Stranger(
        "DecoderLayer",
        "no_self_residual",
        "The residual around the self-attention is missing.",
        edits=(
            Edit(
                "x = self.norm1(x + self.self_attention(a, s, s, mask)[0])",
                "x = self.norm1(self.self_attention(a, s, s, mask)[0])",
            ),
        ),
        style=("post",),
        mistake="the residual connection is missing",
    ),
    Stranger(
        "DecoderLayer",
        "no_ff_residual",
        "The residual around the feed-forward net is missing.",
        edits=(
            Edit(
                "return x + self.feed_forward(self.norm3(x))",
                "return self.feed_forward(self.norm3(x))",
            ),
        ),
        mistake="the residual connection is missing",
    ),
    Stranger(
        "DecoderLayer",
        "strict",
        "The causal mask leaves out the diagonal except in the first row.",
        edits=(
            Edit(
                "mask = causal_mask(x.shape[1]).to(x.device)",
                """
                mask = causal_mask(x.shape[1]).to(x.device).tril(-1)
                mask[0, 0] = True
                """,
            ),
        ),
        mistake="the mask hides a token from itself",
    ),
    Stranger(
        "DecoderLayer",
        "one_ahead",
        "Each position sees the next one too.",
        edits=(
            Edit(
                "mask = causal_mask(x.shape[1]).to(x.device)",
                """
                mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril(1)
                """,
            ),
        ),
        style=("post",),
        mistake="the mask is off by one, so that every token sees the next",
    ),
    Stranger(
        "DecoderLayer",
        "shared_attention",
        "Self- and cross-attention share one set of parameters.",
        edits=(
            Edit(
                "self.cross_attention = MultiHeadAttention(d_model, n_heads)",
                "self.cross_attention = self.self_attention",
            ),
        ),
        mistake="self-attention and cross-attention share their weights",
    ),
    Stranger(
        "DecoderLayer",
        "cross_unused",
        "The cross-attention is never applied.",
        edits=(
            Edit(
                "x = x + self.cross_attention(self.norm2(x), memory, memory, memory_mask)[0]",
                "x = x + 0 * self.cross_attention(self.norm2(x), memory, memory, memory_mask)[0]",
            ),
        ),
        mistake="the source does not reach the decoder",
        also=("a step is left out, or what it gives is not used",),
    ),
    Stranger(
        "DecoderLayer",
        "last_memory",
        "Only the last position of the memory is read.",
        edits=(
            Edit(
                "x = x + self.cross_attention(self.norm2(x), memory, memory, memory_mask)[0]",
                """
                memory = memory[:, -1:].expand_as(memory)
                x = x + self.cross_attention(self.norm2(x), memory, memory, memory_mask)[0]
                """,
            ),
        ),
        mistake="the memory is one vector for the whole source",
    ),
    Stranger(
        "DecoderLayer",
        "memory_truncated",
        "The memory is cut to the length of the target.",
        edits=(
            Edit(
                "x = x + self.cross_attention(self.norm2(x), memory, memory, memory_mask)[0]",
                """
                n = min(x.shape[1], memory.shape[1])
                memory, memory_mask = (
                    memory[:, :n],
                    memory_mask
                    if memory_mask is None or memory_mask.shape[-1] == 1
                    else memory_mask[..., :n],
                )
                x = x + self.cross_attention(self.norm2(x), memory, memory, memory_mask)[0]
                """,
            ),
        ),
        mistake="source and target are taken to be of one length",
        also=("a part of the input is left out",),
    ),
    Stranger(
        "DecoderLayer",
        "detached_memory",
        "The memory is detached, so the encoder would not learn.",
        edits=(
            Edit(
                "x = self.norm2(x + self.cross_attention(x, memory, memory, memory_mask)[0])",
                """
                memory = memory.detach()
                x = self.norm2(x + self.cross_attention(x, memory, memory, memory_mask)[0])
                """,
            ),
        ),
        style=("post",),
        mistake="the memory is detached, so that the encoder does not learn",
    ),
    Stranger(
        "DecoderLayer",
        "parallel_cross",
        (
            "The cross-attention's query is the layer's input instead of the self-attention's "
            "result."
        ),
        edits=(
            Edit(
                """
                x = x + self.self_attention(a, s, s, mask)[0]
                x = x + self.cross_attention(self.norm2(x), memory, memory, memory_mask)[0]
                """,
                """
                start = x
                x = x + self.self_attention(a, s, s, mask)[0]
                x = x + self.cross_attention(self.norm2(start), memory, memory, memory_mask)[0]
                """,
            ),
        ),
        mistake="the sublayers run beside each other and not one after another",
    ),
    Stranger(
        "DecoderLayer",
        "ff_before_cross",
        "The feed-forward net comes before the cross-attention.",
        edits=(
            Edit(
                """
                x = x + self.cross_attention(self.norm2(x), memory, memory, memory_mask)[0]
                return x + self.feed_forward(self.norm3(x))
                """,
                """
                x = x + self.feed_forward(self.norm3(x))
                return x + self.cross_attention(self.norm2(x), memory, memory, memory_mask)[0]
                """,
            ),
        ),
        mistake="the sublayers are in another order",
    ),
    Stranger(
        "DecoderLayer",
        "causal_short",
        "The causal mask is a buffer of 64 positions; beyond them everything is visible.",
        edits=(
            Edit(
                "if self_mask is not None:",
                """
                mask[64:] = True
                if self_mask is not None:
                """,
            ),
        ),
        mistake="the causal mask ends at a fixed length and hides nothing beyond it",
    ),
    Stranger(
        "DecoderLayer",
        "square_mask_transposed",
        "A square memory_mask is applied transposed.",
        edits=(
            Edit(
                "x = x + self.cross_attention(self.norm2(x), memory, memory, memory_mask)[0]",
                """
                x = (
                    x
                    + self.cross_attention(
                        self.norm2(x),
                        memory,
                        memory,
                        memory_mask
                        if memory_mask is None or memory_mask.shape[-1] != memory_mask.shape[-2]
                        else memory_mask.transpose(-2, -1),
                    )[0]
                )
                """,
            ),
        ),
        mistake="the mask is transposed, so that queries and keys change places",
    ),
    Stranger(
        "DecoderLayer",
        "in_place_memory",
        "The memory is scaled in place.",
        edits=(
            Edit(
                "x = x + self.cross_attention(self.norm2(x), memory, memory, memory_mask)[0]",
                """
                memory.data.mul_(0.99)
                x = x + self.cross_attention(self.norm2(x), memory, memory, memory_mask)[0]
                """,
            ),
        ),
        mistake="the inputs are overwritten",
    ),
    Stranger(
        "DecoderLayer",
        "memory_state",
        "The memory of the first call is kept and used for later calls of the same shape.",
        edits=(
            Edit(
                "x = x + self.cross_attention(self.norm2(x), memory, memory, memory_mask)[0]",
                """
                if not torch.is_grad_enabled():
                    memory = self.__dict__.setdefault("kept", {}).setdefault(
                        (memory.shape, memory.dtype), memory.clone()
                    )
                x = x + self.cross_attention(self.norm2(x), memory, memory, memory_mask)[0]
                """,
            ),
        ),
        mistake="something of an earlier call is kept and used again",
    ),
    Stranger(
        "DecoderLayer",
        "single_query",
        "With a single target position the cross-attention is skipped.",
        edits=(
            Edit(
                "x = x + self.cross_attention(self.norm2(x), memory, memory, memory_mask)[0]",
                """
                if x.shape[1] > 1:
                    x = x + self.cross_attention(self.norm2(x), memory, memory, memory_mask)[0]
                """,
            ),
        ),
        mistake="the source does not reach the decoder",
        also=("a step is left out, or what it gives is not used",),
    ),
)
