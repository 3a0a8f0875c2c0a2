"""``python -m rlkit`` is the command ``rlkit``."""

import sys

from rlkit.experiments.cli import main

sys.exit(main())
