"""Test images from the static busybox, imported without a registry."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path
from typing import Any

SLEEPER = "tutela/sleeper:latest"
"""Runs until it is asked to stop; `sh`, `env`, `wget` and friends are there."""
WEB = "tutela/web:latest"
"""Serves its host name on port 80; defines GREETING and exposes the port."""
EXITER = "tutela/exiter:latest"
"""Ends at once with the code in CODE (1 when unset)."""

_APPLETS = [
    "sh",
    "env",
    "wget",
    "httpd",
    "sleep",
    "echo",
    "hostname",
    "cat",
    "ls",
    "nc",
    "nslookup",
    "ping",
    "kill",
    "ps",
    "true",
    "false",
    "mkdir",
    "sync",
    "tr",
    "head",
]
_WAIT = 'trap "exit 0" TERM INT; while :; do sleep 1000 & wait $!; done'


def rootfs() -> bytes:
    """A file system of busybox with links for its applets."""
    busybox = shutil.which("busybox")
    assert busybox is not None, "busybox-static is not installed"
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for folder in ("bin", "etc", "tmp", "www", "proc", "sys", "dev"):
            info = tarfile.TarInfo(folder)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
        data = Path(busybox).read_bytes()
        info = tarfile.TarInfo("bin/busybox")
        info.size, info.mode = len(data), 0o755
        tar.addfile(info, io.BytesIO(data))
        for applet in _APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return out.getvalue()


def import_image(client: Any, reference: str, *, command: list[str], changes: tuple[str, ...] = ()) -> None:
    """Make an image of busybox with this command."""
    import json

    repository, _, tag = reference.rpartition(":")
    client.import_image_from_data(
        rootfs(), repository=repository, tag=tag, changes=["ENV PATH=/bin", f"CMD {json.dumps(command)}", *changes]
    )


def ensure_images(client: Any) -> None:
    """The three images above, on the engine."""
    import_image(client, SLEEPER, command=["sh", "-c", _WAIT])
    web = f'trap "exit 0" TERM INT; echo $HOSTNAME > /www/index.html; httpd -f -p 80 -h /www & {_WAIT}'
    import_image(client, WEB, command=["sh", "-c", web], changes=("ENV GREETING=hello", "EXPOSE 80/tcp"))
    import_image(client, EXITER, command=["sh", "-c", "exit ${CODE:-1}"])
