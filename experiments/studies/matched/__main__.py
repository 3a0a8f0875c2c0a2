"""``python -m rlkit.experiments.studies.matched [names]``."""

import sys

from .run import main

sys.exit(main())
