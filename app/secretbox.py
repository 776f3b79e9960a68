"""The installation's secret: what is encrypted with it, and the tokens that containers prove themselves with.

A token is not stored: it is the container's id with a code made from the secret, so that it can be told again
whenever a container is made anew, and there is nothing to steal in the database (spec 2.20, RELIABILITY S7).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path
from uuid import UUID

from cryptography.fernet import Fernet, InvalidToken

KEY_FILE = "secret-key"


class SecretBox:
    """Seals texts, and makes and checks tokens. `key` is 32 bytes in URL-safe base64, as Fernet has it."""

    def __init__(self, key: str) -> None:
        """Raises ValueError for a key of another form."""
        raw = base64.urlsafe_b64decode(key.encode())
        if len(raw) != 32:
            raise ValueError("the secret key must be 32 bytes in URL-safe base64")
        self._fernet = Fernet(key.encode())
        self._mac = hashlib.sha256(b"container token" + raw).digest()

    @classmethod
    def open(cls, state_dir: Path, given: str | None = None) -> SecretBox:
        """The installation's: the given key, else that of the state directory, made at first use. Blocking."""
        return cls(given or _stored(state_dir / KEY_FILE))

    def seal(self, text: str) -> bytes:
        """The text, encrypted."""
        return self._fernet.encrypt(text.encode())

    def unseal(self, sealed: bytes) -> str | None:
        """The text; None when it was sealed with another key."""
        try:
            return self._fernet.decrypt(sealed).decode()
        except InvalidToken:
            return None

    def token(self, container_id: UUID) -> str:
        """The container's token."""
        return f"{container_id.hex}.{self._code(container_id)}"

    def bearer(self, token: str) -> UUID | None:
        """The container that the token was made for; None for a token that was not made here."""
        text, _, code = token.partition(".")
        try:
            container_id = UUID(text)
        except ValueError:
            return None
        genuine = hmac.compare_digest(code.encode(), self._code(container_id).encode())
        return container_id if genuine else None

    def login_key(self, account_id: UUID, password_hash: str) -> str:
        """The API key of a login by password: the same for the same password, so that logins leave no trail of keys."""
        text = b"cli login" + account_id.bytes + password_hash.encode()
        return hmac.new(self._mac, text, hashlib.sha256).hexdigest()

    def code_of(self, data: bytes) -> bytes:
        """32 bytes by which the data is known again and cannot be guessed at, though a password may be in it."""
        return hmac.new(self._mac, b"request" + data, hashlib.sha256).digest()

    def _code(self, container_id: UUID) -> str:
        return hmac.new(self._mac, container_id.bytes, hashlib.sha256).hexdigest()


def _stored(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text(encoding="ascii").strip()
    key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    return key
