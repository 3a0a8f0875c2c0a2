"""``python -m rlkit.experiments`` is the command ``rlkit``."""

import sys

from .cli import main

sys.exit(main())
