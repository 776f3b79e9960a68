"""Python 2.7 and the original Tutum clients, beside the system, in a cache of their own.

Python comes from Debian bullseye's packages, unpacked by `dpkg -x`; the address of the archive is the one that this
machine's apt is set to. The clients come by pip's own index. Every file is pinned by its hash. Nothing is patched.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

__all__ = ["Client", "Clients", "Unavailable", "installed", "required"]

_RECIPE = "1"
"""To be raised with every change of what is installed."""

_DEBS = {
    "libdb5.3": "00b9e63e287f45300d4a4f59b6b88e25918443c932ae3e5845d5761ae193c530",
    "libffi7": "30ca89bfddae5fa6e0a2a044f22b6e50cd17c4bc6bc850c579819aeab7101f0f",
    "libpython2.7-minimal": "85833c92314011b89bbead6f9a5a7a360b5ee4f9b95e001225afead4ebf9f7d3",
    "libpython2.7-stdlib": "3e627d6d8992b853e000b8a4c09dda613fb767cdb711a2eac20ebc9f867b593c",
    "libreadline8": "162ba9fdcde81b5502953ed4d84b24e8ad4e380bbd02990ab1a0e3edffca3c22",
    "libsqlite3-0": "a0b8d3acf4a0483048637637d269be93af48d5c16f6f139f53edd13384ad4686",
    "libssl1.1": "aadf8b4b197335645b230c2839b4517aa444fd2e8f434e5438c48a18857988f7",
    "python2.7": "0b0b34b069d41970af75a4fe5b9012465e480fc0a0488ec16554d6299fe0b46e",
    "python2.7-minimal": "44f0cdc1a343303d31c55fcb3a6402cfe326adf749ec30e375e6e0c0c5f7c1f7",
}
"""Of bullseye, amd64; the sha256 also pins the version."""

_TOOLS = {
    "pip==20.3.4": "217ae5161a0e08c0fb873858806e3478c9775caffce5168b50ec885e358c199d",
    "setuptools==44.1.1": "27a714c09253134e60a6fa68130f78c7037e5562c4f21f8f318f2ae900d152d5",
}
"""Wheels, the last ones for Python 2.7."""

_YAML = {"PyYAML==3.10": "4a612876bfac22be403a39cbff64b8aac7ce3fed4c11778c59f79232943b22e4"}
_LATER = {
    **_YAML,
    "ago==0.0.6": "a64811a5a44cd3ba687d800986edf0f7a97859b8da75d3347c915b58b0869b44",
    "backports.ssl-match-hostname==3.4.0.2": "07410e7fb09aab7bdaf5e618de66c3dac84e2e3d628352814dc4c37de321d6ae",
    "docker-py==1.2.3": "5328a7f4a2d812da166b3fb59211fca976c9f48bb9f8b17d9f3fd4ef7c765ac5",
    "future==0.15.0": "7f8ad46e287ac32e3dae78be41098c83d690b364142e0a5f11958c2b549420b0",
    "python-dateutil==2.4.2": "3e95445c1db500a344079a47b171c45ef18f57d188dffdb0e4165c71bea8eb3d",
    "python-tutum==0.21.1": "eea1a87262b8ac75f3e24d9b828c8b9aa393d766c5a61ae15ac8a5393e1260a0",
    "requests==2.7.0": "398a3db6d61899d25fd4a06c6ca12051b0ce171d705decd7ed5511517b4bb93d",
    "six==1.9.0": "e24052411fc4fbd1f672635537c3fc2330d9481b18c0317695b46259512c91d5",
    "tabulate==0.7.2": "532ccab8d9e4659a5f016d84814df86cc04763785e9de2739e890d956dc82d8f",
    "tutum==0.21.1": "59e5cc2bee78639a0beea72743a24ec041730efb38f22c5aa77f8550659debce",
    "websocket-client==0.32.0": "cb3ab95617ed2098d24723e3ad04ed06c4fde661400b96daa1859af965bfe040",
}
_SEED = {
    **_YAML,
    "ago==0.0.6": _LATER["ago==0.0.6"],
    "docker-py==0.5.3": "db279666e5b9957211e2f16b47fda3f07208b824315718e99d77945c1a61edde",
    "python-dateutil==2.2": "eec865307ebe7f329a6a9945c15453265a449cdaaf3710340828a1934d53e468",
    "python-tutum==0.10.5": "645ca5b9b4721236c5244e015a1f4b55e204b9c920e7409db0796cba71f74a03",
    "requests==2.7.0": _LATER["requests==2.7.0"],
    "six==1.9.0": _LATER["six==1.9.0"],
    "tabulate==0.7.2": _LATER["tabulate==0.7.2"],
    "tutum==0.10.5": "172b6bb014d5a7fbe55f7de6d77fe2ffa98bbf37a32676977f3c23c325c83329",
    "websocket-client==0.32.0": _LATER["websocket-client==0.32.0"],
}
_NEWEST_SDK = {"python-tutum==0.21.2": "9d9dc2f6dd893b4243d8a794ce0e371989a4f6232523c6a934b50204cf0a187f"}
"""In front of `_LATER`: the SDK's last release, which the CLI does not take."""


class Unavailable(Exception):
    """Python 2.7 or the clients could not be had; says why."""


@dataclass(frozen=True)
class Client:
    """A client's packages, and how to run Python 2.7 with them."""

    python: Path
    site: Path
    environment: Mapping[str, str]
    """PYTHONHOME, PYTHONPATH, LD_LIBRARY_PATH; to be added to whatever else the program shall see."""

    @property
    def program(self) -> Path:
        """The `tutum` script of the CLI."""
        return self.site / "bin" / "tutum"

    def command(self, *arguments: str) -> list[str]:
        """The words of a call of the CLI."""
        return [str(self.python), str(self.program), *arguments]


@dataclass(frozen=True)
class Clients:
    """The three sets: the seed's CLI 0.10.5, the last CLI 0.21.1 with its SDK, the last SDK 0.21.2 alone."""

    seed: Client
    later: Client
    newest_sdk: Client


def required() -> bool:
    """Whether the tests of the clients must run: in CI, or where it is asked for."""
    return bool(os.environ.get("CI")) or os.environ.get("TUTELA_TEST_CLIENTS") == "required"


def installed() -> Clients:
    """Python 2.7 and the clients, installed at the first call (half a minute). Raises Unavailable."""
    chosen = os.environ.get("TUTELA_TEST_PYTHON27")
    place = Path(chosen) if chosen else Path.home() / ".cache" / "tutela-tests" / "python27"
    pins = repr((_RECIPE, _DEBS, _TOOLS, _LATER, _SEED, _NEWEST_SDK))
    home = place / hashlib.sha256(pins.encode()).hexdigest()[:16]
    try:
        place.mkdir(parents=True, exist_ok=True)
        with _locked(place / "lock"):
            if not home.is_dir():
                _install(home)
    except (OSError, subprocess.SubprocessError) as problem:
        raise Unavailable(
            f"Python 2.7 with the Tutum clients could not be installed below {place}: {problem}"
        ) from None
    return Clients(
        seed=_client(home, "seed"), later=_client(home, "later"), newest_sdk=_client(home, "newest", "later")
    )


def _install(home: Path) -> None:
    """Everything into a directory beside `home`, which then takes its name."""
    if platform.system() != "Linux" or platform.machine() != "x86_64" or shutil.which("dpkg") is None:
        raise Unavailable("Python 2.7 is unpacked from Debian's packages for x86-64; this machine is another")
    making = home.with_name(f"{home.name}.{os.getpid()}")
    for stale in home.parent.glob(f"{home.name}.*"):
        shutil.rmtree(stale)
    making.mkdir()
    try:
        _python(making)
        _packages(making, "later", _LATER)
        _packages(making, "seed", _SEED)
        _packages(making, "newest", _NEWEST_SDK)
        _run("compileall", *_python_words(making, "-m", "compileall", "-q", str(making / "usr/lib/python2.7")))
        making.rename(home)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _client(home: Path, *sites: str) -> Client:
    libraries = ":".join(f"{home}/{each}" for each in _LIBRARIES)
    return Client(
        python=home / "usr/bin/python2.7",
        site=home / sites[0],
        environment={
            "PYTHONHOME": f"{home}/usr",
            "LD_LIBRARY_PATH": libraries,
            "PYTHONPATH": ":".join(f"{home}/{each}" for each in sites),
        },
    )


_LIBRARIES = ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu")


def _python(making: Path) -> None:
    """Unpack Python and give it pip."""
    debs = making / "debs"
    debs.mkdir()
    _download_debs(debs)
    for name, pin in _DEBS.items():
        (deb,) = debs.glob(f"{name}_*.deb")
        got = hashlib.sha256(deb.read_bytes()).hexdigest()
        if got != pin:
            raise Unavailable(f"{deb.name} has the sha256 {got}, not {pin}")
        _run(f"unpack {name}", "dpkg", "-x", str(deb), str(making))
    shutil.rmtree(debs)
    tools = making / "tools"
    _run(
        "pip download",
        *(sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"),
        *("--python-version=2.7", "--require-hashes", "-r", str(_pinned(making, _TOOLS)), "-d", str(tools)),
    )
    for wheel in tools.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(making / "usr/lib/python2.7/dist-packages")
    shutil.rmtree(tools)


def _packages(making: Path, site: str, pins: Mapping[str, str]) -> None:
    """Install pinned source distributions, without what they ask for, into a folder."""
    _run(
        f"pip install ({site})",
        *_python_words(making, "-m", "pip", "install", "--no-deps", "--no-binary=:all:", "--no-build-isolation"),
        *("--no-cache-dir", "--require-hashes", "-r", str(_pinned(making, pins)), "--target", str(making / site)),
    )


def _pinned(making: Path, pins: Mapping[str, str]) -> Path:
    """A requirements file. PyYAML's C part is left out: there are no headers of Python 2.7 here."""
    path = making / "requirements.txt"
    pure = ' --global-option="--without-libyaml"'
    path.write_text("".join(f"{n}{pure if n in _YAML else ''} --hash=sha256:{pin}\n" for n, pin in pins.items()))
    return path


def _python_words(making: Path, *arguments: str) -> list[str]:
    libraries = ":".join(f"{making}/{each}" for each in _LIBRARIES)
    variables = (f"PYTHONHOME={making}/usr", f"LD_LIBRARY_PATH={libraries}", "PYTHONWARNINGS=ignore")
    return ["env", *variables, str(making / "usr/bin/python2.7"), *arguments]


def _download_debs(into: Path) -> None:
    """Bullseye's packages from the first archive that has them, with an apt whose state is all below `into`."""
    problems = []
    for uri in _archives():
        try:
            _download_from(uri, into)
            return
        except (Unavailable, subprocess.SubprocessError) as problem:
            problems.append(f"{uri}: {problem}")
    raise Unavailable("no Debian archive gave bullseye's Python 2.7: " + ("; ".join(problems) or "apt has no sources"))


def _download_from(uri: str, into: Path) -> None:
    state = into / "apt"
    shutil.rmtree(state, ignore_errors=True)
    for folder in ("lists/partial", "cache/archives/partial", "etc"):
        (state / folder).mkdir(parents=True)
    (state / "status").touch()
    keyring = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
    signed = f"[signed-by={keyring}] " if keyring.exists() else ""
    (state / "etc/sources.list").write_text(f"deb {signed}{uri} bullseye main\n")
    settings = {
        "Dir::State": state, "Dir::State::status": state / "status", "Dir::State::lists": state / "lists",
        "Dir::Cache": state / "cache", "Dir::Etc::sourcelist": state / "etc/sources.list",
        "Dir::Etc::sourceparts": "/dev/null", "Dir::Etc::preferencesparts": "/dev/null", "APT::Sandbox::User": "root",
        "Acquire::Check-Valid-Until": "false", "Acquire::Languages": "none", "Acquire::Retries": "1",
        "Acquire::http::Timeout": "20", "Acquire::https::Timeout": "20", "APT::Update::Error-Mode": "any",
    }  # fmt: skip
    words = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    _run("apt-get update", "apt-get", "-q", *words, "update")
    _run("apt-get download", "apt-get", "-q", *words, "download", *_DEBS, cwd=into)


def _archives() -> Iterator[str]:
    """Where bullseye may be: what this machine's apt uses for Debian, the dead releases beside it, and snapshots that
    its source lists mention (Debian's own images do, in comments)."""
    targets = _run("apt-get indextargets", "apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)")
    sites = dict.fromkeys(line.split()[0] for line in targets.splitlines() if len(line.split()) == 2)
    debian = [site.rstrip("/") for site in sites if site.rstrip("/").endswith("/debian")]
    yield from debian
    for site in debian:
        parts = urlsplit(site)
        yield f"{parts.scheme}://{parts.netloc}{parts.path}-archive/debian"
    lists = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    text = "\n".join(each.read_text(errors="replace") for each in lists if each.is_file())
    yield from dict.fromkeys(re.findall(r"https?://\S+/archive/debian/\w+", text))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One installer at a time on this machine."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run(what: str, *words: str, cwd: Path | None = None) -> str:
    done = subprocess.run(
        words, cwd=cwd, capture_output=True, text=True, check=False, timeout=300, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise Unavailable(f"{what} failed: {(done.stderr.strip() or done.stdout.strip())[-1500:]}")
    return done.stdout
