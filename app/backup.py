"""A backup: one tar file with the rows of all tables, the installation's secrets, and a manifest that vouches for both.

Blocking, but for the database. Nothing in an archive is believed before its checksum was compared, and nothing but
what the manifest names is read.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from app import __version__
from app.first_start import KEY_FILE as ADMIN_KEY
from app.secretbox import KEY_FILE as SECRET_KEY
from orchestrator.store.dump import Dumped, Table, file_of

FORMAT = 1
MANIFEST = "manifest.json"
SECRETS = (SECRET_KEY, ADMIN_KEY)
_TABLE = re.compile(r"tables/[a-z_]{1,60}\.copy")
_MANIFEST_BYTES = 1024 * 1024


class BackupRefused(Exception):
    """The file cannot be written or used; the text is one sentence for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What is in a backup. `files` has the SHA-256 of each, in hex; `made` is UTC."""

    format: int
    tutela: str
    made: datetime
    schema: str
    cluster_id: UUID
    lineage: UUID
    tables: tuple[Table, ...]
    sequences: dict[str, int]
    files: dict[str, str]

    @property
    def secrets(self) -> tuple[str, ...]:
        """The secrets that are in it."""
        return tuple(name for name in SECRETS if name in self.files)


_ADAPTER: TypeAdapter[Manifest] = TypeAdapter(Manifest)


def write(path: Path, folder: Path, dumped: Dumped, secrets: Mapping[str, bytes]) -> Manifest:
    """Make the archive from what was dumped into the folder: whole or not at all, 0600. Raises OSError."""
    files = {f"tables/{table.name}.copy": file_of(folder, table.name) for table in dumped.tables}
    manifest = Manifest(
        format=FORMAT,
        tutela=__version__,
        made=datetime.now(UTC),
        schema=dumped.schema,
        cluster_id=dumped.cluster_id,
        lineage=dumped.lineage,
        tables=dumped.tables,
        sequences=dict(dumped.sequences),
        files={name: _digest(file) for name, file in files.items()}
        | {name: hashlib.sha256(content).hexdigest() for name, content in secrets.items()},
    )
    fresh = path.with_name(f".{path.name}.part")
    try:
        with _durable(fresh) as out, tarfile.open(fileobj=out, mode="w") as archive:
            _add(archive, MANIFEST, _ADAPTER.dump_json(manifest, indent=1))
            for name, content in secrets.items():
                _add(archive, name, content)
            for name, file in files.items():
                archive.add(file, name, filter=_plain)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    _settle(path.parent)
    return manifest


def read(path: Path, folder: Path) -> tuple[Manifest, dict[str, bytes]]:
    """Unpack the rows into the folder; the manifest and the secrets. Raises BackupRefused, OSError."""
    try:
        with tarfile.open(path, mode="r:") as archive:
            manifest = _manifest(archive)
            secrets: dict[str, bytes] = {}
            for name, digest in manifest.files.items():
                if name in SECRETS:
                    secrets[name] = _content(archive, name).read(_MANIFEST_BYTES)
                    found = hashlib.sha256(secrets[name]).hexdigest()
                elif _TABLE.fullmatch(name):
                    found = _unpack(archive, name, file_of(folder, Path(name).stem))
                else:
                    raise BackupRefused(f"{path} is no backup of Tutela: it names {name[:60]!r}")
                if found != digest:
                    raise BackupRefused(f"{path} is damaged: {name} is not what was written (checksum)")
    except (tarfile.TarError, KeyError, EOFError) as error:
        raise BackupRefused(f"{path} is no whole backup of Tutela: {error}") from error
    missing = [table.name for table in manifest.tables if f"tables/{table.name}.copy" not in manifest.files]
    if missing:
        raise BackupRefused(f"{path} is damaged: it has no rows of {', '.join(missing)}")
    return manifest, secrets


def secrets_of(state_dir: Path) -> dict[str, bytes]:
    """The secrets of the installation that are in files. Raises OSError."""
    return {name: (state_dir / name).read_bytes() for name in SECRETS if (state_dir / name).exists()}


@contextlib.contextmanager
def secrets_last(state_dir: Path, secrets: Mapping[str, bytes], *, force: bool) -> Iterator[None]:
    """Write them where they belong when the block has ended well: when it raises, those of before are in place.

    One that differs is kept aside with `force`, else BackupRefused is raised before the block. Raises OSError.
    """
    before = secrets_of(state_dir)
    differing = [name for name, content in secrets.items() if before.get(name, content) != content]
    if differing and not force:
        raise BackupRefused(
            f"{' and '.join(differing)} in {state_dir} are not those of the backup: with --force they are kept aside as"
            " .before-restore and replaced"
        )
    # All of it on the disk before the block, so that only names are left to change after it.
    wanted = {f"{name}.before-restore": before[name] for name in differing} | dict(secrets)
    fresh = {name: state_dir / f".{name}.new" for name in wanted}
    try:
        for name, content in wanted.items():
            with _durable(fresh[name]) as file:
                file.write(content)
        yield
        for name, path in fresh.items():
            path.replace(state_dir / name)
    finally:
        for path in fresh.values():
            path.unlink(missing_ok=True)
    _settle(state_dir)


@contextlib.contextmanager
def _durable(path: Path) -> Iterator[BinaryIO]:
    """A new file, 0600, that is on the disk when the block ends."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _settle(folder: Path) -> None:
    """The names in the folder are on the disk, where the file system has that for folders."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(handle)


def _manifest(archive: tarfile.TarFile) -> Manifest:
    text = _content(archive, MANIFEST).read(_MANIFEST_BYTES)
    try:
        if json.loads(text).get("format") != FORMAT:
            raise BackupRefused("the backup has a form that this version of Tutela does not know")
        return _ADAPTER.validate_json(text)
    except (ValidationError, ValueError, AttributeError) as error:
        raise BackupRefused("the backup's manifest cannot be read") from error


def _content(archive: tarfile.TarFile, name: str) -> io.BufferedIOBase:
    found = archive.extractfile(name)
    if found is None:
        raise KeyError(name)
    return found  # type: ignore[return-value]  # typeshed: IO[bytes]


def _unpack(archive: tarfile.TarFile, name: str, target: Path) -> str:
    digest, source = hashlib.sha256(), _content(archive, name)
    with target.open("wb") as out:
        while block := source.read(1024 * 1024):
            digest.update(block)
            out.write(block)
    return digest.hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(_plain(entry), io.BytesIO(content))


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Nothing of this machine's users in the archive."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o600
    return entry
