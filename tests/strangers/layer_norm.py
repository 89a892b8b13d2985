"""Strangers of the layer normalisation."""

from __future__ import annotations

from tests.strangers import Edit, Stranger

__all__ = ["STRANGERS"]


STRANGERS: tuple[Stranger, ...] = (
    Stranger(
        "LayerNorm",
        "unbiased",
        "The variance is the unbiased one, divided by D − 1.",
        edits=(
            Edit(
                "variance = (z - mean).square().mean(-1, keepdim=True)",
                "variance = (z - mean).square().sum(-1, keepdim=True) / max(z.shape[-1] - 1, 1)",
            ),
        ),
        mistake="the spread is not the standard deviation (unbiased, absolute, not centred)",
    ),
    Stranger(
        "LayerNorm",
        "eps_outside",
        "eps is added to the standard deviation outside the root.",
        edits=(Edit("torch.sqrt(variance + 1e-5)", "(torch.sqrt(variance + 1e-30) + 1e-5)"),),
        mistake="epsilon has another size or stands in another place",
    ),
    Stranger(
        "LayerNorm",
        "eps_small",
        "eps is 1e-12.",
        edits=(Edit("1e-5", "1e-12"),),
        mistake="epsilon has another size or stands in another place",
    ),
    Stranger(
        "LayerNorm",
        "eps_large",
        "eps is 1e-3.",
        edits=(Edit("1e-5", "1e-3"),),
        style=("renamed",),
        mistake="epsilon has another size or stands in another place",
    ),
    Stranger(
        "LayerNorm",
        "eps_1e6",
        "eps is 1e-6 instead of 1e-5.",
        edits=(Edit("1e-5", "1e-6"),),
        mistake="epsilon has another size or stands in another place",
    ),
    Stranger(
        "LayerNorm",
        "no_eps",
        "There is no eps, so constant rows give NaN.",
        edits=(Edit("variance + 1e-5", "variance"),),
        style=("renamed",),
        mistake="there is no epsilon",
    ),
    Stranger(
        "LayerNorm",
        "no_mean",
        "The mean is not subtracted, as in RMSNorm.",
        edits=(Edit("mean = z.mean(-1, keepdim=True)", "mean = 0 * z.mean(-1, keepdim=True)"),),
        mistake="the spread is not the standard deviation (unbiased, absolute, not centred)",
    ),
    Stranger(
        "LayerNorm",
        "mean_not_subtracted",
        "The mean enters the variance but is not subtracted from the input.",
        edits=(
            Edit(
                "normal = (z - mean) / torch.sqrt(variance + 1e-5)",
                "normal = z / torch.sqrt(variance + 1e-5)",
            ),
        ),
        style=("renamed",),
        mistake="a step is left out, or what it gives is not used",
    ),
    Stranger(
        "LayerNorm",
        "all_axes",
        "Statistics are taken over the last two axes.",
        edits=(
            Edit(
                """
                mean = z.mean(-1, keepdim=True)
                variance = (z - mean).square().mean(-1, keepdim=True)
                """,
                """
                axes = (-1,) if z.dim() < 2 else (-2, -1)
                mean = z.mean(axes, keepdim=True)
                variance = (z - mean).square().mean(axes, keepdim=True)
                """,
            ),
        ),
        mistake="the normalisation runs over other axes than the width",
    ),
    Stranger(
        "LayerNorm",
        "first_axis",
        "Statistics are taken over the batch axis.",
        edits=(
            Edit("mean = z.mean(-1, keepdim=True)", "mean = z.mean(0, keepdim=True)"),
            Edit(
                "variance = (z - mean).square().mean(-1, keepdim=True)",
                "variance = (z - mean).square().mean(0, keepdim=True)",
            ),
        ),
        style=("renamed",),
        mistake="a mean or a spread is taken over the batch",
    ),
    Stranger(
        "LayerNorm",
        "zero_gain",
        "The gain starts at 0 instead of 1.",
        edits=(Edit("torch.ones(d_model)", "torch.zeros(d_model)"),),
        mistake="gain and bias do not start at one and zero",
    ),
    Stranger(
        "LayerNorm",
        "random_gain",
        "The gain starts at random values instead of 1.",
        edits=(Edit("torch.ones(d_model)", "torch.rand(d_model) + 0.5"),),
        style=("renamed",),
        mistake="gain and bias do not start at one and zero",
    ),
    Stranger(
        "LayerNorm",
        "bias_unused",
        "The bias is never added.",
        edits=(Edit("normal * self.gain + self.bias", "normal * self.gain"),),
        mistake="gain or bias are not used, or not entry by entry after the normalisation",
        also=("there is a parameter that nothing uses",),
    ),
    Stranger(
        "LayerNorm",
        "gain_unused",
        "The gain is not used.",
        edits=(Edit("normal * self.gain", "normal"),),
        mistake="gain or bias are not used, or not entry by entry after the normalisation",
        also=("there is a parameter that nothing uses",),
    ),
    Stranger(
        "LayerNorm",
        "half_inside",
        "The input is rounded to half precision.",
        edits=(Edit("z = _wide(x)", "z = x.bfloat16().to(_wide(x).dtype)"),),
        style=("renamed",),
        mistake="a result is computed in half precision half-way (autocast)",
    ),
    Stranger(
        "LayerNorm",
        "cancellation",
        "The variance is E[x²] − E[x]², which cancels for inputs far from zero.",
        edits=(
            Edit(
                "variance = (z - mean).square().mean(-1, keepdim=True)",
                "variance = (z.square().mean(-1, keepdim=True) - mean.square()).clamp_min(0)",
            ),
        ),
        mistake="a result is computed with too few digits half-way",
    ),
    Stranger(
        "LayerNorm",
        "float32_for_double",
        "float64 input is computed in float32.",
        edits=(
            Edit("z = _wide(x)", "z = x.float()"),
            Edit(
                "(normal * self.gain + self.bias)", "(normal.to(x.dtype) * self.gain + self.bias)"
            ),
        ),
        style=("renamed",),
        mistake="a result is computed in float32 half-way",
    ),
    Stranger(
        "LayerNorm",
        "detached_statistics",
        "Mean and variance are detached, so the gradient is wrong.",
        edits=(
            Edit(
                "normal = (z - mean) / torch.sqrt(variance + 1e-5)",
                "normal = (z - mean.detach()) / torch.sqrt(variance.detach() + 1e-5)",
            ),
        ),
        style=("renamed",),
        mistake="the gradient is cut on its way (detach)",
    ),
    Stranger(
        "LayerNorm",
        "no_root",
        "The input is divided by the variance, without the root.",
        edits=(Edit("torch.sqrt(variance + 1e-5)", "(variance + 1e-5)"),),
        style=("renamed",),
        mistake="the spread is not the standard deviation (unbiased, absolute, not centred)",
    ),
    Stranger(
        "LayerNorm",
        "in_place",
        "The caller's tensor is centred in place.",
        edits=(
            Edit(
                "return (normal * self.gain + self.bias).to(x.dtype)",
                """
                x.data.sub_(mean.detach().to(x.dtype))
                return (normal * self.gain + self.bias).to(x.dtype)
                """,
            ),
        ),
        mistake="the inputs are overwritten",
    ),
    Stranger(
        "LayerNorm",
        "mean_deviation",
        "The mean absolute deviation is used instead of the standard deviation.",
        edits=(
            Edit(
                "normal = (z - mean) / torch.sqrt(variance + 1e-5)",
                "normal = (z - mean) / ((z - mean).abs().mean(-1, keepdim=True) + 1e-5)",
            ),
        ),
        mistake="the spread is not the standard deviation (unbiased, absolute, not centred)",
    ),
    Stranger(
        "LayerNorm",
        "running",
        "In eval mode running statistics are used, as in batch normalisation.",
        edits=(
            Edit(
                "self.bias = nn.Parameter(torch.zeros(d_model))",
                """
                self.register_buffer("running_mean", torch.zeros(1), persistent=False)
                self.bias = nn.Parameter(torch.zeros(d_model))
                """,
            ),
            Edit(
                "variance = (z - mean).square().mean(-1, keepdim=True)",
                """
                mean = mean if self.training else self.running_mean.to(z)
                variance = (z - mean).square().mean(-1, keepdim=True)
                """,
            ),
        ),
        style=("renamed",),
        mistake="the spread is not the standard deviation (unbiased, absolute, not centred)",
        also=("the result depends on a number that is no parameter",),
    ),
    Stranger(
        "LayerNorm",
        "gain_first",
        "Gain and bias are applied before normalising.",
        edits=(
            Edit("z = _wide(x)", "z = _wide(x) * self.gain + self.bias"),
            Edit("normal * self.gain + self.bias", "normal"),
        ),
        mistake="gain or bias are not used, or not entry by entry after the normalisation",
    ),
    Stranger(
        "LayerNorm",
        "clipped",
        "The normalised values are clipped to ±3.",
        edits=(
            Edit(
                "return (normal * self.gain + self.bias).to(x.dtype)",
                """
                normal = normal.clamp(-3, 3)
                return (normal * self.gain + self.bias).to(x.dtype)
                """,
            ),
        ),
        style=("renamed",),
        mistake="the output goes through a nonlinearity",
    ),
    Stranger(
        "LayerNorm",
        "two_dimensional_only",
        "Inputs without leading dimensions are returned as they came.",
        edits=(
            Edit(
                "z = _wide(x)",
                """
                if x.dim() == 1:
                    return x
                z = _wide(x)
                """,
            ),
        ),
        mistake="a normalisation is missing",
    ),
)
