"""``python -m rlkit.experiments.replay``."""

import sys

from .run import main

sys.exit(main())
