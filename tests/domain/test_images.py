"""What an image says of itself has bounds: the record and every report of it would hold the rest."""

from __future__ import annotations

from dataclasses import replace

import pytest

from domain.image import MAX_IMAGE_TEXT, ImagePort, ResolvedImage, unusable
from domain.spec import Transport

IMAGE = ResolvedImage(reference="a:1", image_id="sha256:1", env=(("PATH", "/bin"),), command=("run",))
MUCH, PORT = "more than 512 KiB", "a port that there is not"
CHARACTER = "a character that is none (NUL, or half of one)"


def ports(*numbers: int) -> tuple[ImagePort, ...]:
    return tuple(ImagePort(protocol=Transport.UDP, port=number) for number in numbers)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({}, None),
        ({"digest": "a@sha256:1", "entrypoint": ("sh",), "volumes": ("/data",)}, None),
        ({"env": (("BIG", "x" * 130_000),)}, None),
        ({"ports": ports(*range(10_000, 20_001))}, None),
        ({"ports": ports(1, 65535)}, None),
        ({"ports": ports(*range(1, 14_000))}, MUCH),
        ({"command": ("x" * MAX_IMAGE_TEXT,)}, MUCH),
        ({"command": ("",) * (MAX_IMAGE_TEXT // 8 + 1)}, MUCH),
        ({"ports": ports(0)}, PORT),
        ({"ports": ports(65536)}, PORT),
        ({"env": (("A", "a\x00b"),)}, CHARACTER),
        ({"env": (("A\x00", ""),)}, CHARACTER),
        ({"command": ("\ud800",)}, CHARACTER),
        ({"image_id": "\x00"}, CHARACTER),
        ({"reference": "a\x00"}, CHARACTER),
        ({"digest": "\udfff"}, CHARACTER),
    ],
)
def test_what_an_image_may_say(said: dict[str, object], why: str | None) -> None:
    found = unusable(replace(IMAGE, **said))  # type: ignore[arg-type]
    expected = f"it cannot be used: its variables, commands, volumes and ports have {why}" if why else None
    assert found == expected
