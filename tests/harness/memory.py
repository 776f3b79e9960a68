"""Where the files of tests lie: in memory, where there is room.

A fresh database is a thousand small files, which cost ten times as much on a disk, most of it in the kernel.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_SHARED = Path("/dev/shm")
_LEAST = 2 * 1024**3
"""Bytes that have to be free: a container is often given 64 MB there."""


def folder() -> str | None:
    """For `tempfile`: the folder in memory; None where there is none that will do."""
    if not os.access(_SHARED, os.W_OK) or shutil.disk_usage(_SHARED).free < _LEAST:
        return None
    return str(_SHARED)
