"""Strangers of the Transformer that go wrong step by step: caches and generation."""

from __future__ import annotations

from tests.strangers import Edit, Stranger

__all__ = ["STRANGERS"]


STRANGERS: tuple[Stranger, ...] = (
    Stranger(
        "Transformer",
        "step_position_zero",
        "step always uses position 0.",
        edits=(Edit("start = 0 if cache is None else cache[0].shape[1]", "start = 0"),),
        mistake="all tokens of a sequence get the same position",
    ),
    Stranger(
        "Transformer",
        "step_position_ahead",
        "step is one position ahead once it has a cache.",
        edits=(
            Edit(
                "start = 0 if cache is None else cache[0].shape[1]",
                "start = 0 if cache is None else cache[0].shape[1] + 1",
            ),
        ),
        style=(
            "post",
            "scaled",
        ),
        mistake="some positions get the encoding of others",
    ),
    Stranger(
        "Transformer",
        "step_no_cache",
        "step does not keep what it has seen, so each token sees only itself.",
        edits=(
            Edit(
                """
                seen = x if cache is None else torch.cat([cache[i], x], 1)
                grown.append(seen)
                """,
                """
                seen = x
                grown.append(x if cache is None else torch.cat([cache[i], x], 1))
                """,
            ),
        ),
        mistake="steps do not go on from what earlier steps left (state, cache)",
        also=("a token sees only itself or what is near it",),
    ),
    Stranger(
        "Transformer",
        "step_mask_ignored",
        "step ignores source_mask.",
        edits=(
            Edit(
                "layer.run(x, seen, memory, None, memory_mask)",
                "layer.run(x, seen, memory, None, None)",
            ),
        ),
        mistake="padding of the source is read in generation",
    ),
    Stranger(
        "Transformer",
        "step_mutates_cache",
        (
            "step grows the caller's cache in place, so going on twice from the same cache goes "
            "wrong."
        ),
        edits=(
            Edit(
                "start = 0 if cache is None else cache[0].shape[1]",
                """
                cache = [None] * len(self.decoder.layers) if cache is None else cache
                start = 0 if cache[0] is None else cache[0].shape[1]
                """,
            ),
            Edit(
                "seen = x if cache is None else torch.cat([cache[i], x], 1)",
                "seen = cache[i] = x if cache[i] is None else torch.cat([cache[i], x], 1)",
            ),
            Edit(
                "return self.project(x)[:, 0], tuple(grown)", "return self.project(x)[:, 0], cache"
            ),
        ),
        style=("post",),
        mistake="the inputs are overwritten",
        doubt="nowhere said that one cache may be gone on from twice",
    ),
    Stranger(
        "Transformer",
        "step_shared_state",
        (
            "The cache is kept in the module under the batch size, so a fresh sequence sees the "
            "one before it."
        ),
        edits=(
            Edit(
                "start = 0 if cache is None else cache[0].shape[1]",
                """
                kept = self.__dict__.setdefault("kept", {})
                cache = kept.get(len(token)) if cache is None else cache
                start = 0 if cache is None else cache[0].shape[1]
                """,
            ),
            Edit(
                "return self.project(self.decoder.norm(x))[:, 0], tuple(grown)",
                """
                kept[len(token)] = tuple(g.detach() for g in grown)
                return self.project(self.decoder.norm(x))[:, 0], tuple(grown)
                """,
            ),
        ),
        mistake="what a sequence needs is kept in the module, and other sequences get it",
    ),
    Stranger(
        "Transformer",
        "generate_with_bos",
        "generate puts bos at the start of its result.",
        edits=(
            Edit(
                """
                token = logits.argmax(-1)
                tokens[:, t] = token
                """,
                """
                tokens[:, t] = token
                token = logits.argmax(-1)
                """,
            ),
        ),
        mistake="what is generated begins with the start token",
    ),
    Stranger(
        "Transformer",
        "generate_feeds_bos",
        "generate feeds bos at every step instead of its own tokens.",
        edits=(
            Edit(
                """
                token = logits.argmax(-1)
                tokens[:, t] = token
                """,
                "tokens[:, t] = logits.argmax(-1)",
            ),
        ),
        mistake="generation feeds the start token every time",
    ),
    Stranger(
        "Transformer",
        "generate_stops_at_zero",
        "generate takes token 0 for the end and gives zeros from there on.",
        edits=(
            Edit(
                "token = logits.argmax(-1)",
                """
                token = (
                    logits.argmax(-1)
                    if t == 0
                    else torch.where(token == 0, token, logits.argmax(-1))
                )
                """,
            ),
        ),
        mistake="generation does not always take the likeliest token",
    ),
    Stranger(
        "Transformer",
        "generate_mask_ignored",
        "generate ignores source_mask.",
        edits=(
            Edit(
                "memory, cache = self.encode(source, source_mask), None",
                """
                source_mask = None
                memory, cache = self.encode(source, source_mask), None
                """,
            ),
        ),
        style=("post",),
        mistake="padding of the source is read in generation",
    ),
    Stranger(
        "Transformer",
        "generate_no_cache",
        "generate does not pass its cache on, so each step starts afresh.",
        edits=(
            Edit(
                "logits, cache = self.step(token, memory, cache, source_mask)",
                "logits, _ = self.step(token, memory, None, source_mask)",
            ),
        ),
        mistake="steps do not go on from what earlier steps left (state, cache)",
    ),
    Stranger(
        "Transformer",
        "generate_second_best",
        "generate never repeats a token: it takes the second best instead.",
        edits=(
            Edit(
                "token = logits.argmax(-1)",
                """
                best = logits.topk(min(2, logits.shape[-1])).indices
                token = torch.where(best[:, 0] == token, best[:, -1], best[:, 0])
                """,
            ),
        ),
        mistake="generation does not always take the likeliest token",
    ),
    Stranger(
        "Transformer",
        "generate_lockstep",
        "generate feeds the first item's token to the whole batch.",
        edits=(
            Edit(
                "tokens[:, t] = token",
                """
                tokens[:, t] = token
                token = token[:1].expand_as(token)
                """,
            ),
        ),
        mistake="what belongs to the first item of a batch serves all",
        also=("generation does not follow its own likeliest tokens",),
    ),
    Stranger(
        "Transformer",
        "generate_sampled",
        "generate samples (with a fixed seed) instead of taking the best token.",
        edits=(
            Edit(
                "token = logits.argmax(-1)",
                """
                token = torch.multinomial(
                    softmax(logits.float()), 1, generator=torch.Generator().manual_seed(t)
                ).squeeze(1)
                """,
            ),
        ),
        mistake="generation does not always take the likeliest token",
    ),
    Stranger(
        "Transformer",
        "memory_cache",
        "Without gradients encode caches its memory by the shape of the source.",
        edits=(
            Edit(
                "return self.encoder(self.embed_source(source), mask)",
                """
                memory = self.encoder(self.embed_source(source), mask)
                return (
                    memory
                    if torch.is_grad_enabled()
                    else self.__dict__.setdefault("kept", {}).setdefault(
                        (source.shape, memory.dtype), memory
                    )
                )
                """,
            ),
        ),
        mistake="something of an earlier call is kept and used again",
    ),
)
