"""``python -m rlkit.experiments.matched [names]``."""

import sys

from .run import main

sys.exit(main())
