"""``python -m rlkit.experiments.studies.replay``."""

import sys

from .run import main

sys.exit(main())
