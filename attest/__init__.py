"""Attest verifies what course notes say about attention, and grades implementations."""

__version__ = "0.1.0"
