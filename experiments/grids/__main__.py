"""``python -m rlkit.experiments.grids [names]``."""

import sys

from .run import main

sys.exit(main())
