"""The default dtype of torch changes nothing: not what an agent learns, nor its files, returns and attacks."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fingerprints import fingerprints

PROGRAM = Path(__file__).resolve().parent / "fingerprints.py"


@pytest.mark.slow
def test_every_agent_computes_the_same_bits_where_torchs_default_is_double():
    printed = subprocess.run(
        [sys.executable, "-W", "error", PROGRAM, "float64"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert printed.returncode == 0, printed.stderr
    assert json.loads(printed.stdout) == fingerprints()
