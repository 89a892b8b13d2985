"""Binds every property to the reference: plain pytest verifies the claims."""

from attest.binding import test_property

__all__ = ["test_property"]
