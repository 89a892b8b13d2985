"""The ledger: the claims of the notes, a file a chapter, and the properties that examine them."""
