"""Figures of what was measured: for people, in grey as in colour, with the number of seeds."""

from __future__ import annotations

import math
import textwrap
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import figure as canvas
from matplotlib.axes import Axes

from attest.experiments import Figure, Numbers
from attest.statistics import interval

__all__ = ["draw"]

# Okabe and Ito 2008: told apart by colour-blind readers; markers and dashes tell them in grey.
COLOURS = ("#000000", "#E69F00", "#0072B2", "#009E73", "#CC79A7", "#D55E00")
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 2)))

LETTERS = 9
"""How many letters of a title an inch holds."""

STYLE: Any = {
    "svg.hashsalt": "attest",
    "svg.fonttype": "none",  # words stay words: they can be searched and read aloud
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw(figure: Figure, numbers: Numbers, path: Path) -> None:
    """Draw a figure as SVG; the same numbers give the same file.

    Args:
        figure: what it shows.
        numbers: what was measured.
        path: where it goes.
    """
    with mpl.rc_context(STYLE):
        if figure.maps:
            drawn = canvas.Figure(figsize=(2.9 * len(figure.maps), 3.4), layout="constrained")
            _maps(figure, numbers, drawn)
        else:
            drawn = canvas.Figure(figsize=(8, 4.2), layout="constrained")
            _lines(figure, numbers, drawn)
        drawn.suptitle(textwrap.fill(figure.title, round(LETTERS * drawn.get_figwidth())))
        drawn.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def _maps(figure: Figure, numbers: Numbers, drawn: canvas.Figure) -> None:
    several = list(drawn.subplots(1, len(figure.maps), squeeze=False)[0])
    for axes, (title, values) in zip(several, figure.maps.items(), strict=True):
        shown = axes.imshow(values(numbers), cmap="Greys", vmin=0, vmax=1)
        axes.set(title=title, xlabel=figure.x, ylabel=figure.y)
    drawn.colorbar(shown, ax=several, shrink=0.7, label="weight")


def _lines(figure: Figure, numbers: Numbers, drawn: canvas.Figure) -> None:
    axes: Axes = drawn.subplots()
    seeds = 0
    for place, series in enumerate(figure.series):
        values = series.values(numbers)
        seeds, means = len(values), values.mean(0)
        ends = [interval(column) for column in values.T]
        bars = [
            [mean - low for mean, (low, _) in zip(means, ends, strict=True)],
            [high - mean for mean, (_, high) in zip(means, ends, strict=True)],
        ]
        axes.errorbar(
            series.x,
            means,
            yerr=bars,
            label=series.label,
            color=COLOURS[place % len(COLOURS)],
            marker=MARKERS[place % len(MARKERS)],
            linestyle=DASHES[place % len(DASHES)],
            markersize=5,
            capsize=3,
        )
    for label, level in figure.levels.items():
        axes.axhline(level, color="0.5", linewidth=0.8)
        axes.annotate(
            f" {label}", (1, level), xycoords=("axes fraction", "data"), ha="left", va="center"
        )
    if "x" in figure.log:
        base = 2 if all(math.log2(x).is_integer() for x in figure.series[0].x) else 10
        axes.set_xscale("log", base=base)
        axes.set_xticks(figure.series[0].x, [f"{x:g}" for x in figure.series[0].x])
        axes.minorticks_off()
    if "y" in figure.log:
        axes.set_yscale("log")
    axes.set(xlabel=figure.x, ylabel=figure.y)
    drawn.legend(
        loc="outside right center",
        frameon=False,
        title=f"mean of n = {seeds} seeds,\nbars: 95 % by Student's t",
        title_fontsize="small",
    )
