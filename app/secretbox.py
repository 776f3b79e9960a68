"""The installation's secret: what is encrypted with it, and the tokens that containers prove themselves with.

A token is not stored: it is the container's id with a code made from the secret, so that it can be told again
whenever a container is made anew, and there is nothing to steal in the database (spec 2.20, RELIABILITY S7).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import secrets
import tempfile
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
        """The installation's: the given key, else that of the state directory, made at first use. Blocking. Raises
        ValueError for a key of another form, and says where it is."""
        try:
            return cls(given or _stored(state_dir / KEY_FILE))
        except ValueError as error:
            where = "TUTELA_SECRET_KEY" if given else str(state_dir / KEY_FILE)
            raise ValueError(f"{where}: {error}; a backup has the installation's (./tutela restore)") from error

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
    """The key in the file; a new one where there is no file. Of several at once one makes it, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.suppress(FileNotFoundError):
        return path.read_text(encoding="ascii").strip()
    handle, fresh = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # 0600
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        os.unlink(fresh)
    return path.read_text(encoding="ascii").strip()
