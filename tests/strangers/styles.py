"""What the contract leaves open, as edits of the base: each style is as correct as the base."""

from __future__ import annotations

from tests.strangers import RENAMED, Edit

__all__ = ["STYLES"]


STYLES: dict[str, tuple[Edit, ...]] = {
    # Layers normalise the sum of each residual, and stacks normalise nothing at their end.
    "post": (
        Edit("a = self.norm1(x)", "a = x", "EncoderLayer"),
        Edit(
            "x = x + self.attention(a, a, a, mask)[0]",
            "x = self.norm1(x + self.attention(a, a, a, mask)[0])",
            "EncoderLayer",
        ),
        Edit(
            "return x + self.feed_forward(self.norm2(x))",
            "return self.norm2(x + self.feed_forward(x))",
            "EncoderLayer",
        ),
        Edit("a, s = self.norm1(x), self.norm1(seen)", "a, s = x, seen", "DecoderLayer"),
        Edit(
            "x = x + self.self_attention(a, s, s, mask)[0]",
            "x = self.norm1(x + self.self_attention(a, s, s, mask)[0])",
            "DecoderLayer",
        ),
        Edit(
            "x = x + self.cross_attention(self.norm2(x), memory, memory, memory_mask)[0]",
            "x = self.norm2(x + self.cross_attention(x, memory, memory, memory_mask)[0])",
            "DecoderLayer",
        ),
        Edit(
            "return x + self.feed_forward(self.norm3(x))",
            "return self.norm3(x + self.feed_forward(x))",
            "DecoderLayer",
        ),
        Edit("return self.norm(x)", "return x", "Encoder"),
        Edit("self.norm = LayerNorm(d_model)", "", "Encoder"),
        Edit("return self.norm(x)", "return x", "Decoder"),
        Edit("self.norm = LayerNorm(d_model)", "", "Decoder"),
        Edit("self.project(self.decoder.norm(x))", "self.project(x)", "Transformer"),
    ),
    # The feed-forward network's activation is GELU.
    "gelu": (Edit("torch.relu(self.up(x))", "nn.functional.gelu(self.up(x))", "FeedForward"),),
    # The cells of a recurrent model are LSTMs, with hidden state and cell side by side.
    "lstm": (
        Edit("A GRU.", "An LSTM.", "_Cell"),
        Edit(
            "self.width = self.d = d_hidden", "self.width, self.d = 2 * d_hidden, d_hidden", "_Cell"
        ),
        Edit("nn.Linear(d_in, 3 * d_hidden)", "nn.Linear(d_in, 4 * d_hidden)", "_Cell"),
        Edit("nn.Linear(d_hidden, 3 * d_hidden)", "nn.Linear(d_hidden, 4 * d_hidden)", "_Cell"),
        Edit("return state", "return state[:, : self.d]", "_Cell"),
        Edit(
            """
            (xr, xz, xn), (hr, hz, hn) = self.x(x).chunk(3, -1), self.h(state).chunk(3, -1)
            r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
            return (1 - z) * torch.tanh(xn + r * hn) + z * state
            """,
            """
            h, c = state.chunk(2, -1)
            i, f, o, g = (self.x(x) + self.h(h)).chunk(4, -1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            return torch.cat([torch.sigmoid(o) * torch.tanh(c), c], -1)
            """,
            "_Cell",
        ),
    ),
    # The cells of a recurrent model are Elman's.
    "elman": (
        Edit("A GRU.", "Elman's cell.", "_Cell"),
        Edit("nn.Linear(d_in, 3 * d_hidden)", "nn.Linear(d_in, d_hidden)", "_Cell"),
        Edit(
            "nn.Linear(d_hidden, 3 * d_hidden)",
            "nn.Linear(d_hidden, d_hidden, bias=False)",
            "_Cell",
        ),
        Edit(
            """
            (xr, xz, xn), (hr, hz, hn) = self.x(x).chunk(3, -1), self.h(state).chunk(3, -1)
            r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
            return (1 - z) * torch.tanh(xn + r * hn) + z * state
            """,
            "return torch.tanh(self.x(x) + self.h(state))",
            "_Cell",
        ),
    ),
    # Sines fill the first half of an encoding and cosines the second.
    "halved": (
        Edit(
            "table[:, 0::2] = angle.sin()",
            "table[:, : (d_model + 1) // 2] = angle.sin()",
            "sinusoidal_positional_encoding",
        ),
        Edit(
            "table[:, 1::2] =",
            "table[:, (d_model + 1) // 2 :] =",
            "sinusoidal_positional_encoding",
        ),
    ),
    # Embeddings are multiplied by the root of the width.
    "scaled": (
        Edit(
            "x = self.source_embedding(source)",
            "x = self.source_embedding(source) * math.sqrt(self.project.in_features)",
            "Transformer",
        ),
        Edit(
            "x = self.target_embedding(target)",
            "x = self.target_embedding(target) * math.sqrt(self.project.in_features)",
            "Transformer",
        ),
    ),
    RENAMED: (),  # where the component's text is put together
}
