"""Token embeddings: every token of a vocabulary has a vector of its own."""

from jaxtyping import Float, Int64
from torch import Tensor, nn

from reference.shapes import check_shapes, check_sizes

__all__ = ["Embedding"]


class Embedding(nn.Embedding):
    """A table with one learned row for each token.

        x_bt = weight[token_bt]

    Args:
        vocabulary: the number of tokens.
        width: of their vectors.

    Parameters: ``weight`` (vocabulary, width).

    Raises:
        TypeError: a number is no integer.
        ValueError: a number below 1.

    Source: Bengio et al. 2003, section 2.
    """

    def __init__(self, vocabulary: int, width: int) -> None:
        check_sizes(vocabulary=vocabulary, width=width)
        super().__init__(vocabulary, width)

    def forward(self, input: Int64[Tensor, "*tokens"]) -> Float[Tensor, "*tokens width"]:  # noqa: A002 - torch's
        """Give the tokens' rows, (..., width).

        Raises:
            TypeError: the tokens are not int64.
            ValueError: a token is outside the vocabulary. Only a CPU says so in time; to ask an
                accelerator would be to wait for it at every step, and it stops by itself.
        """
        check_shapes("tokens int64 (...)", input)
        try:
            return super().forward(input)
        except IndexError:
            least, most, last = int(input.min()), int(input.max()), self.num_embeddings - 1
            raise ValueError(
                f"tokens lie from 0 to {last}, got {least} to {most} in shape {tuple(input.shape)}"
            ) from None
