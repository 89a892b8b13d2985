"""Where the sources lie, and what tells one state of them from another."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import torch

__all__ = ["PARTIAL", "ROOT", "fingerprint"]

ROOT = Path(__file__).parents[1]
PARTIAL = ROOT / ".attest"
"""Where what interrupted runs have done is kept."""

SOURCES = ("attest", "properties", "reference", "tests")


def fingerprint(*more: object) -> str:
    """Give what results depend on: all sources, the versions, and what else is named."""
    digest = hashlib.sha256(repr((torch.__version__, sys.version_info[:2], *more)).encode())
    for folder in SOURCES:
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(str(path.relative_to(ROOT)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
