"""``python -m attest``."""

import sys

from attest.command import run

sys.exit(run())
