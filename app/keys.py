"""API keys as people hold them: `tutela_`, 256 random bits, and a checksum by which scanners know them (S7)."""

from __future__ import annotations

import secrets
import zlib

PREFIX = "tutela_"


def make_key() -> str:
    """A new key. It is told once; only its hash is stored."""
    random = secrets.token_hex(32)
    return f"{PREFIX}{random}{zlib.crc32(random.encode()):08x}"
