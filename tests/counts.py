"""How often a test repeats its cases.

``RLKIT_ENDURANCE=full``, which ``make endurance`` sets, asks for the full counts; the suite runs a part that fits.
"""

from __future__ import annotations

import os

FULL = os.environ.get("RLKIT_ENDURANCE") == "full"


def repeats(full: int, part: int) -> int:
    """Return the full count where it is asked for, else the part."""
    return full if FULL else part
