"""``python -m rlkit.experiments.studies.robustness [names]``."""

import sys

from .run import main

sys.exit(main())
