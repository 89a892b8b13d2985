"""Strangers of the softmax."""

from __future__ import annotations

from tests.strangers import Edit, Stranger

__all__ = ["STRANGERS"]


STRANGERS: tuple[Stranger, ...] = (
    Stranger(
        "softmax",
        "no_max",
        "The maximum is not subtracted, so large inputs overflow.",
        edits=(Edit("z - z.detach().amax(dim, keepdim=True)", "z"),),
        mistake="the softmax does not subtract the largest score of the row",
    ),
    Stranger(
        "softmax",
        "last_axis",
        "The argument dim is ignored and the last axis always used.",
        edits=(
            Edit(
                "z = _wide(x)",
                """
                dim = -1
                z = _wide(x)
                """,
            ),
        ),
        mistake="the softmax runs over a wrong axis",
    ),
    Stranger(
        "softmax",
        "negative_is_last",
        "Every negative dim is taken to be the last axis.",
        edits=(
            Edit(
                "z = _wide(x)",
                """
                dim = max(dim, -1)
                z = _wide(x)
                """,
            ),
        ),
        mistake="the softmax runs over a wrong axis",
    ),
    Stranger(
        "softmax",
        "default_first_axis",
        "The default axis is the first rather than the last.",
        edits=(Edit("dim=-1", "dim=0"),),
        mistake="the softmax runs over a wrong axis",
    ),
    Stranger(
        "softmax",
        "epsilon",
        "A small epsilon is added to the denominator, so the weights do not sum to one.",
        edits=(Edit("e.sum(dim, keepdim=True)", "(e.sum(dim, keepdim=True) + 1e-6)"),),
        mistake="the softmax has something added to its denominator",
    ),
    Stranger(
        "softmax",
        "global_max",
        (
            "The maximum of the whole tensor is subtracted instead of that of each row, so low "
            "rows underflow to 0/0."
        ),
        edits=(Edit("z.detach().amax(dim, keepdim=True)", "z.detach().max()"),),
        mistake="the softmax does not subtract the largest score of the row",
    ),
    Stranger(
        "softmax",
        "clamped",
        "Inputs are clamped to ±50 against overflow.",
        edits=(Edit("z = _wide(x)", "z = _wide(x).clamp(-50, 50)"),),
        mistake="the weights are not a softmax of the scores",
    ),
    Stranger(
        "softmax",
        "float32_inside",
        "Everything is computed in float32 even for float64 input.",
        edits=(Edit("_wide(x)", "x.float()"),),
        mistake="a result is computed in float32 half-way",
    ),
    Stranger(
        "softmax",
        "float32_out",
        "Half-precision input gives float32 output.",
        edits=(Edit(".to(x.dtype)", ""),),
    ),
    Stranger(
        "softmax",
        "in_place",
        "The maximum is subtracted from the caller's tensor in place.",
        edits=(
            Edit(
                "z = _wide(x)",
                """
                x.data.sub_(x.data.amax(dim, keepdim=True))
                z = _wide(x)
                """,
            ),
        ),
        mistake="the inputs are overwritten",
    ),
    Stranger(
        "softmax",
        "detached_sum",
        "The denominator is detached, so the gradient is wrong.",
        edits=(Edit("e.sum(dim, keepdim=True)", "e.sum(dim, keepdim=True).detach()"),),
        mistake="the gradient is cut on its way (detach)",
    ),
    Stranger(
        "softmax",
        "base_two",
        "Powers of two are used instead of powers of e.",
        edits=(Edit("torch.exp(", "torch.exp2("),),
        mistake="the exponentials have base two",
    ),
    Stranger(
        "softmax",
        "log",
        "The logarithm of the softmax is returned.",
        edits=(Edit("(e / e.sum(dim, keepdim=True))", "(e / e.sum(dim, keepdim=True)).log()"),),
        mistake="the weights are not a softmax of the scores",
    ),
    Stranger(
        "softmax",
        "whole_tensor",
        "The weights are normalised over the whole tensor rather than along the axis.",
        edits=(Edit("e.sum(dim, keepdim=True)", "e.sum()"),),
        mistake="the softmax runs over a wrong axis",
    ),
    Stranger(
        "softmax",
        "online_no_rescale",
        (
            "The blocked online softmax does not rescale its running sum when a later block raises "
            "the maximum."
        ),
        edits=(
            Edit(
                """
                z = _wide(x)
                e = torch.exp(z - z.detach().amax(dim, keepdim=True))
                return (e / e.sum(dim, keepdim=True)).to(x.dtype)
                """,
                """
                z = _wide(x).movedim(dim, -1)
                top, total = None, 0.0
                for block in z.split(32, -1):
                    best = block.detach().amax(-1, keepdim=True)
                    top = best if top is None else torch.maximum(top, best)
                    total = total + torch.exp(block - top).sum(-1, keepdim=True)
                return (torch.exp(z - top) / total).movedim(-1, dim).to(x.dtype)
                """,
            ),
        ),
        mistake="the sums of the blocks of a long row are put together wrongly",
    ),
    Stranger(
        "softmax",
        "tail_block",
        "Past 128 entries the kernel leaves out the last incomplete block of the sum.",
        edits=(
            Edit(
                "return (e / e.sum(dim, keepdim=True)).to(x.dtype)",
                """
                n = x.shape[dim]
                n = n if n <= 128 else n // 128 * 128
                return (e / e.narrow(dim, 0, n).sum(dim, keepdim=True)).to(x.dtype)
                """,
            ),
        ),
        mistake="what lies beyond a fixed length is left out",
        also=("the sums of the blocks of a long row are put together wrongly",),
    ),
    Stranger(
        "softmax",
        "diagonal_backward",
        "The hand-written backward keeps only the diagonal p(1-p) of the Jacobian.",
        edits=(
            Edit(
                """
                def softmax(x, dim=-1):
                    z = _wide(x)
                    e = torch.exp(z - z.detach().amax(dim, keepdim=True))
                    return (e / e.sum(dim, keepdim=True)).to(x.dtype)
                """,
                """
                class _Softmax(torch.autograd.Function):
                    @staticmethod
                    def forward(ctx, x, dim):
                        p = torch.softmax(x, dim)
                        ctx.save_for_backward(p)
                        return p

                    @staticmethod
                    def backward(ctx, g):
                        (p,) = ctx.saved_tensors
                        return g * p * (1 - p), None


                def softmax(x, dim=-1):
                    return _Softmax.apply(x, dim)
                """,
            ),
        ),
        mistake="the gradient is another than that of the result",
    ),
    Stranger(
        "softmax",
        "max_of_last_axis",
        "The maximum is taken along the last axis although the sum is along dim.",
        edits=(Edit("amax(dim, keepdim=True)", "amax(-1, keepdim=True)"),),
        mistake="the softmax does not subtract the largest score of the row",
    ),
)
