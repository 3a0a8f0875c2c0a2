"""``python -m rlkit.experiments.studies.grids [names]``."""

import sys

from .run import main

sys.exit(main())
