"""``python -m attest``."""

import sys

from attest.command import main

sys.exit(main())
