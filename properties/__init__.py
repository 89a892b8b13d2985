"""The ledger: the claims of the notes, a file a chapter, and the properties that examine them."""

CHAPTERS = ("S2S", "TF", "DEC", "ATT", "SA", "MHA", "TRF", "EQ", "ORD", "RES", "PE", "WHY", "MSK")
"""The order in which claims are shown, by the letters before their number."""
