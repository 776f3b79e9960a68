"""File systems that are full."""

from __future__ import annotations

from pathlib import Path


def fill(folder: Path, *, left: int = 0) -> Path:
    """Write the folder's file system full, but for `left` MB; the file that does it. Remove it for space again."""
    path, block = folder / "filler", b"\0" * (1 << 20)
    with path.open("wb", buffering=0) as file:
        while block:
            try:
                file.write(block)
            except OSError:
                block = block[: len(block) // 2]
        file.truncate(file.tell() - (left << 20))
    return path
