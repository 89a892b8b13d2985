"""Bugs that public projects shipped, each written anew, with the properties that must notice it.

A bug is a mutant that somebody made in earnest. It stands in a row of `ROWS`, beside others of its
kind, and names those of the row's reports that it reproduces. What a row has that no implementation
of the contract can get wrong is in `INEXPRESSIBLE`, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.mutants import Mutant, declared

__all__ = ["INEXPRESSIBLE", "ROWS", "Bug", "Row", "all_bugs", "bug"]


@dataclass(frozen=True)
class Row:
    """Reports of one kind of bug.

    Attributes:
        title: what is wrong.
        sources: the reports, each an owner/repository with the number of an issue or pull request.
    """

    title: str
    sources: tuple[str, ...]


ROWS: dict[int, Row] = {
    1: Row(
        "causal alignment where there are more keys than queries",
        (
            "pytorch/pytorch #103082",
            "pytorch/pytorch #108108",
            "ml-explore/mlx #2835",
            "lucidrains/x-transformers #187",
        ),
    ),
    2: Row(
        "a query without any key gives NaN",
        (
            "pytorch/pytorch #103749",
            "pytorch/pytorch #103963",
            "pytorch/pytorch #109517",
            "Xilinx/brevitas #1591",
        ),
    ),
    3: Row("NaN in a masked slot leaks", ("pytorch/pytorch #101967",)),
    4: Row(
        "fast and slow paths disagree, so that no_grad changes the output",
        ("pytorch/pytorch #190486", "pytorch/pytorch #106630"),
    ),
    5: Row("padding truncates the output", ("pytorch/pytorch #97111",)),
    6: Row(
        "a flag for causality is ignored",
        ("pytorch/pytorch #96941", "pytorch/pytorch #99282", "keras-team/keras #23038"),
    ),
    7: Row(
        "the future leaks in one backend or model",
        ("huggingface/transformers #48745", "huggingface/transformers #48770"),
    ),
    8: Row("the diagonal is off by one", ("RVC-Boss/GPT-SoVITS #965",)),
    9: Row(
        "dropout in evaluation",
        (
            "karpathy/nanoGPT #240",
            "huggingface/pytorch-image-models #1978",
            "wenet-e2e/wenet #2699",
        ),
    ),
    10: Row(
        "a mask of the other polarity",
        (
            "rasbt/LLMs-from-scratch #1061",
            "NVIDIA/TransformerEngine #614",
            "neuro-galaxy/torch_brain #74",
        ),
    ),
    11: Row("the mask comes after the softmax", ("huggingface/pytorch-image-models #2236",)),
    12: Row("scores are multiplied by the mask", ("georg-wolflein/good-features #1",)),
    13: Row("masked scores are thrown away", ("opendilab/DI-engine #333",)),
    14: Row(
        "a wrong scale",
        (
            "lucidrains/vit-pytorch #65",
            "esceptico/perceiver-io #9",
            "rasbt/LLMs-from-scratch #856",
            "mlc-ai/mlc-llm #3426",
        ),
    ),
    15: Row(
        "a softmax over another axis, or over heads as well",
        (
            "PetrochukM/PyTorch-NLP #2",
            "DEEP-PolyU/KEQA_WSDM19 #2",
            "facebookresearch/detr #247",
        ),
    ),
    16: Row(
        "heads are split or merged without a transpose",
        ("reczoo/FuxiCTR #30", "jsbaan/transformer-from-scratch #6"),
    ),
    17: Row(
        "masks are repeated in another order than heads and items",
        (
            "lsdefine/attention-is-all-you-need-keras #36",
            "line/lighthouse #77",
            "huggingface/candle #3582",
        ),
    ),
    18: Row(
        "a cache gives other logits",
        ("lucidrains/x-transformers #219", "lucidrains/native-sparse-attention-pytorch #20"),
    ),
    19: Row(
        "padding on the left shifts positions",
        (
            "huggingface/transformers #22161",
            "huggingface/transformers #29583",
            "unslothai/unsloth #4078",
        ),
    ),
    20: Row(
        "positions are added along the batch",
        ("AkiRusProd/numpy-transformer #1", "tanjimin/C.Origami #42"),
    ),
    21: Row("one position for all, for want of a colon", ("DiffPoseTalk/DiffPoseTalk #20",)),
    22: Row("sine and cosine of a pair differ in frequency", ("SamLynnEvans/Transformer #25",)),
    23: Row(
        "wrong frequencies, by precedence or by integers",
        ("zju3dv/LoFTR #41", "codertimo/BERT-pytorch #18"),
    ),
    24: Row(
        "an odd width crashes halfway",
        ("codertimo/BERT-pytorch #78", "gc-os-ai/pyaptamer #526"),
    ),
    25: Row(
        "positions are computed in half precision",
        (
            "EleutherAI/gpt-neox #1003",
            "huggingface/transformers #25681",
            "NVIDIA/Megatron-LM #535",
            "vllm-project/vllm #54620",
        ),
    ),
    26: Row(
        "the constant that hides a score overflows in float16",
        ("facebookresearch/fairseq #3575", "bentrevett/pytorch-seq2seq #191"),
    ),
    27: Row(
        "layer normalisation by an unbiased variance, or with epsilon outside the root",
        (
            "hyunwoongko/transformer #7",
            "hkproj/pytorch-transformer #31",
            "harvardnlp/annotated-transformer #122",
        ),
    ),
    28: Row(
        "a residual adds another branch than the one that it should",
        (
            "kyegomez/BitNet #32",
            "strutive07/transformer-tensorflow2.0 #14",
            "Howuhh/faster-trajectory-transformer #3",
        ),
    ),
    29: Row("tied weights come apart", ("facebookresearch/lingua #74", "vec2text/vec2text #94")),
    30: Row(
        "layers are not registered, or share their weights",
        ("maruya24/pytorch_robotics_transformer #3", "habla-liaa/encodecmae #3"),
    ),
    31: Row("teacher forcing is off by one", ("bentrevett/pytorch-seq2seq #46",)),
    32: Row("weights ignore the encoder's states", ("spro/practical-pytorch #84",)),
    33: Row(
        "a model from sequence to sequence attends to padding",
        ("tensorflow/tensorflow #512", "tensorflow/tensorflow #43941"),
    ),
    34: Row(
        "additive attention without tanh",
        ("AuCson/PyTorch-Batch-Attention-Seq2seq #3",),
    ),
    35: Row("padding counts in the loss", ("d2l-ai/d2l-en #2707", "voidism/DiffCSE #25")),
    36: Row("cross-attention takes another mask", ("lucidrains/x-transformers #174",)),
}
"""The reports, by the number of their row."""

INEXPRESSIBLE: dict[int, str] = {
    3: (
        "In the report a masked entry of 1e10 changes nothing, and NaN alone leaks. The contract "
        "speaks of finite inputs, and the reference has this bug, as has whoever multiplies "
        "weights by values: zero times NaN is NaN. The ledger says so in a refutation, "
        "DecoderLayer.a_future_that_is_no_number_does_not_reach_the_past. That no finite entry "
        "leaks is a law, and has mutants."
    ),
    19: (
        "Padding is on the right: padding_mask and lengths say so. A Transformer takes masks that "
        "hide tokens on the left, but no positions beside them, and the contract does not say how "
        "places are counted there. No law speaks of it."
    ),
    29: (
        "Nothing in the contract is tied: layers have weights of their own, and whether an "
        "embedding and the output share theirs is a free choice. Nor does it save, load or train."
    ),
}
"""Why no implementation of the contract can have a row's bug, or a part of it."""


@dataclass(frozen=True)
class Bug:
    """A mutant that a public project shipped.

    Attributes:
        row: the number of its row.
        mutant: the wrong component, and the properties that must notice.
        sources: the reports of its row that it reproduces.
    """

    row: int
    mutant: Mutant
    sources: tuple[str, ...]

    @property
    def what(self) -> str:
        """What is wrong, in a sentence."""
        return self.mutant.target.__doc__ or ""


def bug(
    row: int, component: str, *killers: str, sources: tuple[str, ...] = (), replaces: str = ""
) -> Callable[[Any], Any]:
    """Declare a function or a class as a bug, killed by these properties.

    Args:
        row: the number of its row.
        component: the component whose properties notice it.
        killers: their names.
        sources: those of the row's reports that it reproduces; by default all of them.
        replaces: the public name of the reference in whose place it is put, as for a mutant.
    """

    def declare(target: Any) -> Any:
        own = Mutant(target.__name__, component, target, killers, replaces)
        target.__bug__ = [
            *vars(target).get("__bug__", ()),
            Bug(row, own, sources or ROWS[row].sources),
        ]
        return target

    return declare


def all_bugs() -> Iterator[Bug]:
    """Give every bug that a file in this folder declares."""
    yield from declared(__name__, "__bug__", "BUGS")
