"""``python -m rlkit.experiments.studies.tuned [names]``."""

import sys

from .run import main

sys.exit(main())
