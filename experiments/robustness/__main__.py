"""``python -m rlkit.experiments.robustness [names]``."""

import sys

from .run import main

sys.exit(main())
