"""Generated mutants that no law notices, each with the reason why it is not wrong."""

from __future__ import annotations

from properties.families import PLAIN

__all__ = ["RIGHT_INSIDE", "SURVIVORS"]

RIGHT_INSIDE: dict[str, str] = {
    "LayerNorm, constant: 1e-05 -> 1e-06": (
        "the contract says which eps a LayerNorm has, and not that a layer is made of one"
    ),
}
"""Why a mistake of a component is none where it is part of another, by the mutant's name."""

# Why a mutant is not wrong, or why no law can say so.
_REASONS: dict[str, list[tuple[tuple[str, ...], str]]] = {
    "weights that belong to hidden keys are set to zero, and their gradients with them": [
        (PLAIN, "masked_softmax, mask: ~mask & answerable -> ~mask"),
    ],
    "hidden keys have no weight already, and a row without an allowed key may have any": [
        (
            PLAIN,
            "masked_softmax, mask: softmax(scores.masked_fill(blocked, -torch.inf))"
            ".masked_fill(~mask, 0.0) -> softmax(scores.masked_fill(blocked, -torch.inf))",
        ),
    ],
    "the scores are a helper's own, and nobody reads them again": [
        (
            PLAIN,
            "masked_softmax, in_place: scores.masked_fill(blocked, -torch.inf)"
            " -> scores.masked_fill_(blocked, -torch.inf)",
        ),
    ],
    "sines before cosines, and not between them, is a free choice": [
        (
            ("sinusoidal_positional_encoding",),
            "sinusoidal_positional_encoding, axis: torch.stack([angles.sin(), angles.cos()], -1)"
            " -> torch.stack([angles.sin(), angles.cos()], -2)",
        ),
    ],
    "a bias or none is a free choice, and so is its sign": [
        (
            ("FeedForward",),
            f"feed_forward, {change}",
        )
        for change in (
            "dropped: x @ inner_weight.mT + inner_bias -> x @ inner_weight.mT",
            "sign: x @ inner_weight.mT + inner_bias -> x @ inner_weight.mT - inner_bias",
            "dropped: hidden @ outer_weight.mT + outer_bias -> hidden @ outer_weight.mT",
            "sign: hidden @ outer_weight.mT + outer_bias -> hidden @ outer_weight.mT - outer_bias",
        )
    ],
    "which column of the projection reads which pixel of a patch is a free choice": [
        (
            ("PatchEmbedding",),
            f"patches, axis: grid.permute(0, 2, 4, 1, 3, 5) -> grid.permute({order})",
        )
        for order in ("0, 2, 4, 3, 1, 5", "0, 2, 4, 1, 5, 3")
    ],
    "which column of a matrix reads which of its inputs is a free choice": [
        (("AttentionSeq2Seq",), f"AttentionSeq2Seq.step, swap: {change}")
        for change in (
            "(self.embedding(token), context[:, 0]) -> (context[:, 0], self.embedding(token))",
            "[token_in, context] -> [context, token_in]",
            "[state, token_in, context] -> [token_in, state, context]",
            "[state, token_in, context] -> [state, context, token_in]",
        )
    ],
    "keys and values that are remembered are as many": [
        (("Transformer",), "Transformer.step, index: cache[0][0] -> cache[0][1]"),
    ],
    "a scale of embeddings is a free choice": [
        (("Transformer",), f"Transformer._embed, scale: {change}")
        for change in (
            "embedding(tokens) * math.sqrt(embedding.embedding_dim) -> embedding(tokens)",
            "embedding(tokens) * math.sqrt(embedding.embedding_dim)"
            " -> embedding(tokens) / math.sqrt(embedding.embedding_dim)",
            "math.sqrt(embedding.embedding_dim) -> embedding.embedding_dim",
            "math.sqrt(embedding.embedding_dim) -> embedding.embedding_dim ** 2",
        )
    ],
    "scaled embeddings are the helper's own, and nobody reads them again": [
        (
            ("Transformer",),
            "Transformer._embed, in_place: x + positions[first:].to(x.device)"
            " -> x.add_(positions[first:].to(x.device))",
        ),
    ],
    "a cell's state is what it shows": [
        (
            ("Seq2Seq",),
            "Seq2Seq.step, dropped: self.output(self.cell.hidden(state)) -> self.output(state)",
        ),
    ],
    "which of the stored layers comes first is a free choice": [
        (
            (stack,),
            f"{stack}.forward, step_dropped: self.layers -> list(self.layers)[::-1]",
        )
        for stack in ("Encoder", "Decoder")
    ],
    "after the last sum of a post-norm stack nothing is left to normalise": [
        (("Encoder",), "Encoder.forward, dropped: self.norm(x) -> x"),
        (("Decoder",), "Decoder.forward, dropped: self.norm(x) -> x"),
        (("Transformer",), "Decoder.step, dropped: self.norm(x) -> x"),
    ],
}

SURVIVORS: dict[tuple[str, str], str] = {
    (component, name): reason
    for reason, mutants in _REASONS.items()
    for components, name in mutants
    for component in components
}
"""Why a mutant is not noticed, by its component and name."""
