"""``python -m rlkit.experiments.benchmarks [names]``."""

import sys

from .run import main

sys.exit(main())
