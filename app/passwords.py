"""Passwords of people: how they are stored, and a check that is slow only the first time (spec 1.2, 1.4).

Stored as `scrypt$<log2 n>$<r>$<p>$<salt>$<hash>`, salt (16 bytes) and hash (32 bytes) in base64, so that the costs can
be raised later without touching what is there. One check takes 32 MB and about a tenth of a second.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict

LOG_N, R, P = 15, 8, 1
_MEMORY = 64 * 1024 * 1024
AT_ONCE = 2
MOST_WAITING = 20
"""For a turn. Each holds a connection, and two turns are a quarter of a second."""
REMEMBER_SECONDS = 300.0
_REMEMBERED = 1024
_NOBODY = f"scrypt${LOG_N}${R}${P}${'A' * 22}==${'A' * 43}="
"""Checked for a user that has no password, so that the time tells nobody who has one. No password fits it."""


def hashed(password: str) -> str:
    """What is stored of a password. Blocking, slow on purpose."""
    salt = secrets.token_bytes(16)
    return f"scrypt${LOG_N}${R}${P}${_text(salt)}${_text(_scrypt(password, salt, LOG_N, R, P))}"


def fits(stored: str, password: str) -> bool:
    """Whether the password is the stored one. Blocking, slow on purpose."""
    _, log_n, r, p, salt, known = stored.split("$")
    made = _scrypt(password, base64.b64decode(salt), int(log_n), int(r), int(p))
    return hmac.compare_digest(made, base64.b64decode(known))


def _scrypt(password: str, salt: bytes, log_n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=2**log_n, r=r, p=p, maxmem=_MEMORY, dklen=32)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


class Passwords:
    """Checks passwords; a right one is known again for five minutes, by a digest that only this process can make."""

    def __init__(self) -> None:
        self._salt = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, float] = OrderedDict()
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0

    def crowded(self) -> bool:
        """Whether so many wait for a check that another one is better asked to come again."""
        return self._waiting >= MOST_WAITING

    def known(self, stored: str | None, password: str) -> bool:
        """Whether the password was found right a short time ago, for what is stored now."""
        return self._right.get(self._digest(stored or "", password), 0.0) > time.monotonic()

    async def check(self, stored: str | None, password: str) -> bool:
        """Whether the password is the stored one; never, for a user that has none."""
        self._waiting += 1
        try:
            async with self._turns:
                right = await asyncio.to_thread(fits, stored or _NOBODY, password) and stored is not None
        finally:
            self._waiting -= 1
        if right:
            self._right[self._digest(stored or "", password)] = time.monotonic() + REMEMBER_SECONDS
            while len(self._right) > _REMEMBERED:
                self._right.popitem(last=False)
        return right

    def _digest(self, stored: str, password: str) -> bytes:
        return hmac.new(self._salt, f"{stored}\0{password}".encode(), hashlib.sha256).digest()
