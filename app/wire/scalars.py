"""Dates, URIs and the well-known names of ports (spec 1.1, 1.10, 2.6)."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from uuid import UUID

API = "/api/v1"

PORT_NAMES = {
    20: "ftp-data", 21: "ftp", 22: "ssh", 23: "telnet", 25: "smtp", 53: "domain", 80: "http", 110: "pop3", 143: "imap2",
    389: "ldap", 443: "https", 465: "ssmtp", 587: "submission", 993: "imaps", 995: "pop3s", 1433: "ms-sql-s",
    3306: "mysql", 5432: "postgres", 5672: "amqp", 6379: "redis", 8080: "http-alt", 8443: "https-alt",
    9200: "elasticsearch", 11211: "memcached", 27017: "mongodb",
}  # fmt: skip


def port_name(number: int) -> str:
    """The name of the service that usually listens on the port, else `unknown`."""
    return PORT_NAMES.get(number, "unknown")


def uri_protocol(transport: str, inner_port: int) -> str:
    """The scheme under which the port is asked: of the web's ports the web's, else the transport."""
    name = port_name(inner_port)
    return name if name in {"http", "https"} else transport


def endpoint_uri(transport: str, inner_port: int, host: str, outer_port: int) -> str:
    """`http://HOST:PORT/`: where a published port is; an IPv6 address in brackets."""
    return f"{uri_protocol(transport, inner_port)}://{f'[{host}]' if ':' in host else host}:{outer_port}/"


def date(value: datetime | None) -> str | None:
    """`Mon, 13 Oct 2014 11:01:43 +0000`; None stays None."""
    return None if value is None else format_datetime(value.astimezone(UTC))


def parse_date(text: str) -> datetime | None:
    """A date of a filter: `YYYY-MM-DD`, ISO date and time, or the wire's form, in UTC.

    None when it is none of them, or no moment of UTC's years 1 to 9999: an offset can lead out of them.
    """
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        try:
            value = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
    try:
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    except OverflowError:
        return None


def uri(kind: str, ident: UUID | str) -> str:
    """The resource path of an object."""
    return f"{API}/{kind}/{ident}/"


def uuid_of(text: str, kind: str) -> UUID | None:
    """The uuid in a resource URI of that kind (path or absolute URL), or a bare one; None otherwise."""
    tail = text.strip()
    marker = f"{API}/{kind}/"
    if marker in tail:
        tail = tail.split(marker, 1)[1].strip("/")
    try:
        return UUID(tail)
    except ValueError:
        return None


def image_tag_uri(reference: str) -> str:
    """`/api/v1/image/NAME/tag/TAG/`; a digest serves as the tag (spec 2.5)."""
    if "@" in reference:
        name, _, tag = reference.partition("@")
    else:
        name, _, tag = reference.rpartition(":")
    return f"{API}/image/{name}/tag/{tag}/"
