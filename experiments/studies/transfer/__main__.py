"""``python -m rlkit.experiments.studies.transfer [names]``."""

import sys

from .run import main

sys.exit(main())
