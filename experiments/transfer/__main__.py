"""``python -m rlkit.experiments.transfer [names]``."""

import sys

from .run import main

sys.exit(main())
