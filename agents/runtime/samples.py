"""Makes a small image from the machine's own busybox, so that the first steps need no registry."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import subprocess
import tarfile
from pathlib import Path

import docker

API_VERSION = "1.41"
IMPORT_SECONDS = 60
PLACES = ("/bin/busybox", "/usr/bin/busybox", "/usr/local/bin/busybox", "/bin/busybox.static")
PT_INTERP = 3


class NoBusybox(RuntimeError):
    """This machine has no static busybox; the text is one sentence saying what to do."""


class ImportRefused(RuntimeError):
    """The engine did not take the image; the text is its reason."""


def find_static_busybox() -> Path:
    """The path of a busybox that needs no shared library. Raises NoBusybox."""
    on_path = shutil.which("busybox")
    for place in [*PLACES, *([on_path] if on_path else [])]:
        path = Path(place)
        if path.is_file() and os.access(path, os.X_OK) and is_static(path):
            return path
    raise NoBusybox("no static busybox to build the sample image from (Debian: apt-get install busybox-static)")


def is_static(path: Path) -> bool:
    """True for an ELF program that asks for no interpreter, which is what a dynamic one does."""
    with path.open("rb") as file:
        head = file.read(64)
        if len(head) < 52 or head[:4] != b"\x7fELF":
            return False
        order = "<" if head[5] == 1 else ">"
        if head[4] == 2:
            (start,) = struct.unpack_from(order + "Q", head, 32)
            size, count = struct.unpack_from(order + "HH", head, 54)
        else:
            (start,) = struct.unpack_from(order + "I", head, 28)
            size, count = struct.unpack_from(order + "HH", head, 42)
        file.seek(start)
        table = file.read(size * count)
    return all(struct.unpack_from(order + "I", table, index * size)[0] != PT_INTERP for index in range(count))


def busybox_rootfs(busybox: Path) -> bytes:
    """A root file system as a tar: busybox, a link for each applet, the usual folders. No clock in it."""
    listed = subprocess.run([str(busybox), "--list"], capture_output=True, text=True, timeout=10, check=True)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, mode in (("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777), ("root", 0o700), ("www", 0o755)):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, mode
            tar.addfile(folder)
        _add(tar, "bin/busybox", busybox.read_bytes(), 0o755)
        for applet in sorted(set(listed.stdout.split()) - {"busybox"}):
            link = tarfile.TarInfo(f"bin/{Path(applet).name}")
            link.type, link.linkname, link.mode = tarfile.SYMTYPE, "busybox", 0o777
            tar.addfile(link)
        _add(tar, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n", 0o644)
        _add(tar, "etc/group", b"root:x:0:\n", 0o644)
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))


def import_busybox_image(base_url: str, repository: str, tag: str, cmd: list[str], expose: list[int]) -> None:
    """Import a busybox image under `repository:tag` into the engine at `base_url`.

    In: the command as an argument list and the ports to expose. Raises NoBusybox, ImportRefused, and what the
    SDK raises when the engine is away.
    """
    rootfs = busybox_rootfs(find_static_busybox())
    changes = ["ENV PATH=/bin", f"CMD {json.dumps(cmd)}", *(f"EXPOSE {port}" for port in expose)]
    api = docker.APIClient(base_url=base_url, version=API_VERSION, timeout=IMPORT_SECONDS)
    api.trust_env = False  # a CA bundle or proxy of the environment must not apply to the engine
    try:
        answer = api.import_image_from_data(rootfs, repository=repository, tag=tag, changes=changes)
    finally:
        api.close()
    # The engine reports a failed import inside a 200 answer, one JSON object a line.
    for line in str(answer).splitlines():
        try:
            report = json.loads(line)
        except ValueError:
            continue
        if isinstance(report, dict) and "error" in report:
            raise ImportRefused(str(report["error"]))
