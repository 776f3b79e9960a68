"""Bodies of tags, nodes, triggers, images and passwords, read into values (spec 2.10, 4.3, 4.5, 4.10, 1.4).

Known read-only keys and unknown ones are ignored: clients echo what they were given.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.wire.reading import Reading
from app.wire.service_input import TAG
from domain.errors import Invalid
from domain.image import MAX_REFERENCE, parse
from domain.trigger import TriggerOperation

MOST_TAGS = 100
MOST_TRIGGERS = 100
SHORTEST_PASSWORD = 8
_BAD_TAG = "must be a name of 1 to 64 letters, digits, dots, hyphens, _ and ="


def read_tags(body: Any) -> tuple[str, ...]:
    """Tag names of a nested POST: a list, `{"tags": [...]}` or one object (spec 2.10). Raises Invalid."""
    reading = Reading()
    value = body.get("tags", [body]) if isinstance(body, dict) else body
    names = _tags(reading, value)
    if not names:
        reading.fail("tags", 'must name at least one tag, as in [{"name": "production"}]')
    _done(reading)
    return names


def _tags(reading: Reading, value: Any) -> tuple[str, ...]:
    out: list[str] = []
    for index, item in enumerate(reading.items(value, "tags", most=MOST_TAGS)):
        name = item.get("name") if isinstance(item, dict) else item
        if not isinstance(name, str) or not TAG.fullmatch(name):
            reading.fail(f"tags[{index}]", _BAD_TAG)
        elif name not in out:
            out.append(name)
    return tuple(out)


def added(present: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    """Both, without repetition. Raises Invalid when there are too many."""
    out = tuple(dict.fromkeys((*present, *more)))
    if len(out) > MOST_TAGS:
        raise Invalid({"tags": f"must have at most {MOST_TAGS} entries"})
    return out


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedNode:
    """A node's PATCH; `tags` None: not said. `nickname` None: not said, empty: the node's own name again."""

    tags: tuple[str, ...] | None
    nickname: str | None


def read_node(body: Any) -> AskedNode:
    """A node's PATCH; other keys than tags and nickname are ignored (spec 4.5). Raises Invalid."""
    reading = Reading()
    data = _object(body)
    tags = None
    if "tags" in data:
        tags = () if data["tags"] is None else _tags(reading, data["tags"])
    nickname = None
    if "nickname" in data:
        nickname = "" if data["nickname"] is None else reading.text(data["nickname"], "nickname", most=255).strip()
    _done(reading)
    return AskedNode(tags=tags, nickname=nickname)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedAdminNode:
    """An operator's PATCH of a node; None: not said."""

    name: str | None
    public_ip: str | None


def read_admin_node(body: Any) -> AskedAdminNode:
    """An operator's PATCH of a node: its name, and the address under which its published ports are reached.

    Raises Invalid.
    """
    reading = Reading()
    data = _object(body)
    name = data.get("name")
    if name is not None:
        name = reading.text(name, "name", most=63)
        if name is not None and not NODE_NAME.fullmatch(name):
            reading.fail(
                "name", "must be 1 to 63 letters, digits, dots and hyphens, beginning and ending with no hyphen"
            )
    address = data.get("public_ip")
    if address is not None:
        address = reading.text(address, "public_ip", most=45)
        if address and not _is_address(address):
            reading.fail("public_ip", "must be an IP address, or empty")
    _done(reading)
    return AskedAdminNode(name=name, public_ip=address)


NODE_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedTrigger:
    """A new trigger; `name` None: one is to be made up."""

    name: str | None
    operation: TriggerOperation


def read_triggers(body: Any) -> tuple[AskedTrigger, ...]:
    """The triggers of a POST: one object, or the older list of them; no body asks for one. Raises Invalid."""
    reading = Reading()
    if isinstance(body, list):
        items = reading.items(body, "body", most=MOST_TRIGGERS)
        if not items:
            reading.fail("body", "must have at least one trigger")
        out = tuple(
            _trigger(reading, reading.mapping(each, f"body[{index}]"), f"body[{index}].")
            for index, each in enumerate(items)
        )
    else:
        out = (_trigger(reading, _object(body), ""),)
    _done(reading)
    return out


def _trigger(reading: Reading, data: Mapping[str, Any], prefix: str) -> AskedTrigger:
    name, operation = data.get("name"), data.get("operation")
    found: TriggerOperation | None = TriggerOperation.REDEPLOY
    if operation not in (None, ""):
        found = reading.choice(operation, f"{prefix}operation", TriggerOperation)
    text = None if name in (None, "") else reading.text(name, f"{prefix}name", most=100).strip()
    return AskedTrigger(name=text or None, operation=found or TriggerOperation.REDEPLOY)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedImage:
    """What a body says of an image; None: it does not say."""

    name: str
    username: str | None
    password: str | None = field(repr=False)
    description: str | None


_LINE = re.compile(r"^[^\x00-\x1f\x7f]*$")


def read_image(body: Any, name: str | None = None) -> AskedImage:
    """An image's POST, or with `name` its PATCH (spec 4.3). Raises Invalid."""
    reading = Reading()
    data = _object(body)
    if name is None:
        name = _image_name(reading, data.get("name"))
    texts: dict[str, str | None] = {}
    for key, most in (("username", 255), ("password", 4096), ("description", 4096)):
        value = data.get(key)
        texts[key] = None if value is None else reading.text(value, key, most=most)
        if key != "description" and not _LINE.fullmatch(texts[key] or ""):
            reading.fail(key, "must not have control characters")
    if ":" in (texts["username"] or ""):
        reading.fail("username", "must not have a colon")
    _done(reading)
    return AskedImage(name=name, **texts)


def _image_name(reading: Reading, value: Any) -> str:
    if value in (None, ""):
        reading.fail("name", "is required: the image without tag, such as registry.example.com/team/app")
        return ""
    text = reading.text(value, "name", most=MAX_REFERENCE)
    found = parse(text)
    if found is None or found.name != text:
        reading.fail("name", "is no image name: it reads [registry/]name, in lower case and without tag")
    return text


def read_password(body: Any) -> tuple[str | None, str]:
    """Whose password (None: the caller's) and the password. Raises Invalid."""
    reading = Reading()
    data = _object(body)
    user = data.get("username")
    name = None if user in (None, "") else reading.text(user, "username", most=255)
    password = reading.text(data.get("password"), "password", most=1024)
    if "password" not in reading.errors and len(password) < SHORTEST_PASSWORD:
        reading.fail("password", f"must have at least {SHORTEST_PASSWORD} characters")
    _done(reading)
    return name, password


def _object(body: Any) -> Mapping[str, Any]:
    if body is None:
        return {}
    if not isinstance(body, dict):
        raise Invalid({"body": "must be a JSON object"})
    return body


def _done(reading: Reading) -> None:
    if reading.errors:
        raise Invalid(reading.errors)
