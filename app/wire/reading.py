"""Read values of a request body, collecting every complaint instead of stopping at the first."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

E = TypeVar("E", bound=StrEnum)
_TRUE, _FALSE = {"true", "1", "yes", "on"}, {"false", "0", "no", "off"}
_NUMBER = re.compile(r"^[+-]?[0-9]{1,18}$")


def storable(text: str) -> bool:
    """Whether Postgres and the engine take the text: no NUL, no half of a surrogate pair."""
    return "\x00" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


class Reading:
    """One body being read; `errors` maps the path of each bad field to what is wrong and what would be right."""

    def __init__(self) -> None:
        self.errors: dict[str, str] = {}

    def fail(self, path: str, message: str) -> None:
        """Note a complaint; the first one about a field stays."""
        self.errors.setdefault(path, message)

    def integer(self, value: Any, path: str, *, low: int, high: int) -> int | None:
        """A whole number between the bounds; digits in a string are taken too (spec 1.5)."""
        if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
            value = int(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            self.fail(path, f"must be a whole number from {low} to {high}")
            return None
        if not low <= value <= high:
            self.fail(path, f"must be from {low} to {high}")
            return None
        return value

    def boolean(self, value: Any, path: str) -> bool:
        """true or false, also as text."""
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.strip().lower() in _TRUE | _FALSE:
            return value.strip().lower() in _TRUE
        self.fail(path, "must be true or false")
        return False

    def text(self, value: Any, path: str, *, most: int = 4096) -> str:
        """A string without NUL."""
        if not isinstance(value, str):
            self.fail(path, "must be a string")
            return ""
        if not storable(value):
            self.fail(path, "must be Unicode text without the character NUL")
        if len(value) > most:
            self.fail(path, f"must have at most {most} characters")
        return value

    def command(self, value: Any, path: str) -> str | None:
        """A command line, as one string or a list of words; empty means the image's own (spec 2.11)."""
        if isinstance(value, list) and all(isinstance(word, str) for word in value):
            value = shlex.join(value)
        text = self.text(value, path, most=32_768)
        try:
            words = shlex.split(text)
        except ValueError:
            self.fail(path, "has a quotation mark or backslash without its partner")
            return None
        return text if words else None

    def choice(self, value: Any, path: str, kind: type[E], among: list[E] | None = None) -> E | None:
        """One of the names of an enumeration, in any case and with `-` or a space for `_`."""
        options = list(kind) if among is None else among
        if isinstance(value, str):
            plain = value.strip().upper().replace("-", "_").replace(" ", "_")
            for option in options:
                if option.value.upper() == plain:
                    return option
        self.fail(path, f"must be one of {', '.join(option.value for option in options)}")
        return None

    def items(self, value: Any, path: str, *, most: int) -> list[Any]:
        """A list with at most so many entries."""
        if not isinstance(value, list):
            self.fail(path, "must be a list")
            return []
        if len(value) > most:
            self.fail(path, f"must have at most {most} entries")
            return []
        return value

    def mapping(self, value: Any, path: str) -> Mapping[str, Any]:
        """An object."""
        if not isinstance(value, dict):
            self.fail(path, "must be an object")
            return {}
        return value
