"""The simulator as its users start it: in a process of its own, whose sets of strings have one order."""

from __future__ import annotations

import os
import subprocess
import sys


def simulate(*arguments: str) -> str:
    """What `./tutela simulate` says. Raises AssertionError with that when a promise was broken."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tests.simulation", *arguments],
        env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": os.getcwd()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-12_000:]
    return done.stdout
