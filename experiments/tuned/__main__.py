"""``python -m rlkit.experiments.tuned [names]``."""

import sys

from .run import main

sys.exit(main())
