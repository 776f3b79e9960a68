"""The one table that turns what the engine and its HTTP client raise into RuntimeBusy or RuntimeRefused.

Status codes alone do not tell (E11, E12, E20: a 404 may be the container, its network or its image; a 500 may be
a taken port or a wrong password), so the text decides, here and nowhere else. Messages are for people.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import requests
from docker.errors import APIError, DockerException

from agents.runtime.base import RuntimeBusy, RuntimeFailed, RuntimeRefused

BUSY = "busy"
OVERLAY = "overlay"
"""Busy as well: another host makes the network, or the swarm has no leader for the moment; tried again soon."""

OVERLAY_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Rule:
    """An error whose text matches and whose status is one of `statuses` (empty: any) means `code`."""

    pattern: re.Pattern[str]
    code: str
    message: str
    statuses: frozenset[int] = frozenset()


def _rule(pattern: str, code: str, message: str, *statuses: int) -> Rule:
    return Rule(re.compile(pattern, re.IGNORECASE | re.DOTALL), code, message, frozenset(statuses))


RULES = (
    _rule(
        r"could not attach to network|attaching to network failed|does not have a leader|not a swarm manager"
        r"|not part of a swarm|lost leader status|swarm/control\.sock",
        OVERLAY,
        "the overlay network is not to be had yet: {text}",
    ),
    _rule(r"removal of container .* is already in progress", BUSY, "the engine is still removing it", 409),
    _rule(r"marked for removal|is marked for removal", BUSY, "the engine is still removing it", 409),
    _rule(r"unable to remove filesystem|driver .* failed to remove", BUSY, "the engine could not remove it: {text}"),
    # An engine that is ending cannot take the last run's away any more; its next start does (chaos, seed 66).
    _rule(
        r"endpoint with name .* already exists in network", BUSY, "the engine has not let go of its last run: {text}"
    ),
    _rule(r"has active endpoints", BUSY, "the network is still in use: {text}"),
    _rule(r"bind source path does not exist", "path_missing", "make the path on the host first: {text}", 400),
    _rule(r"port is already allocated|address already in use", "port_taken", "a published port is taken: {text}"),
    _rule(r"no space left on device|disk quota exceeded", "disk_full", "the node's disk is full"),
    _rule(r"pool overlaps", "subnet_taken", "the subnet overlaps another network: {text}"),
    _rule(r"non-overlapping .*address pool", "subnets_gone", "the engine has no free subnet left for a network"),
    _rule(r"network .* (not found|is ambiguous)|could not find a network", "network_missing", "{text}"),
    _rule(r"task \w+: already exists", "half_started", "its engine lost a start of it half way and cannot repeat it"),
    _rule(r"network with name .* already exists", "name_taken", "{text}", 409),
    _rule(r"conflict\. the container name", "name_taken", "the container's name is taken: {text}", 409),
    _rule(
        r"executable file not found|no such file or directory: unknown|exec.*permission denied|exec format error"
        r"|not a directory: unknown",
        "bad_command",
        "its command cannot be run: {text}",
    ),
    _rule(r"invalid reference format|invalid repository name", "bad_reference", "not an image reference: {text}"),
    _rule(r"no such image|image not known", "image_missing", "the engine does not have the image: {text}", 404),
    _rule(
        r"pull access denied|unauthorized|authentication required|no basic auth|denied: "
        r"|incorrect username or password",
        "auth",
        "the registry does not have the image or does not let us pull it: {text}",
    ),
    _rule(
        r"manifest unknown|manifest for .* not found|repository .* not found|name unknown|does not exist"
        r"|not found: manifest",
        "image_missing",
        "the registry does not have the image: {text}",
    ),
    _rule(
        r"error parsing http 404 response body", "image_missing", "the registry does not have it, or is none: {text}"
    ),
    _rule(
        r"error parsing http 40[13] response body", "auth", "what answers for the registry does not let us in: {text}"
    ),
    _rule(
        r"error parsing http (407|408|429) response body|error unmarshalling content",
        BUSY,
        "what answers is no registry (a proxy that wants something?): {text}",
    ),
    _rule(r"error parsing http 4\d\d response body", "refused", "what answers for the registry refuses it: {text}"),
    _rule(r"verification failed for digest", "refused", "the registry sends other content than it names: {text}"),
    _rule(r"toomanyrequests|rate limit", BUSY, "the registry asks to slow down: {text}"),
    _rule(
        r"no such host|dial tcp|i/o timeout|connection refused|context deadline|tls handshake|unexpected eof|eof$"
        r"|server misbehaving|temporary failure|received unexpected http status",
        BUSY,
        "cannot be reached: {text}",
    ),
    _rule(r"no such container|no such network", "not_found", "it is gone: {text}", 404),
    _rule(r".", "not_found", "it is gone: {text}", 404),
    _rule(r".", "bad_request", "the engine does not accept it: {text}", 400),
    _rule(r".", "conflict", "{text}", 403, 409),
    _rule(
        r"invalid argument|oci runtime create failed|failed to create shim|gathering device information",
        "refused",
        "{text}",
        500,
    ),
)
"""First match wins; what matches nothing is an engine in trouble, to be tried again."""


def translate(error: BaseException, doing: str) -> RuntimeFailed:
    """Our error for one that came out of the SDK while `doing` something."""
    match error:
        case RuntimeFailed():
            return error
        case APIError():
            status = error.response.status_code if error.response is not None else 500
            return classify(status, str(error.explanation or error), doing)
        case requests.ConnectionError() if not isinstance(error, requests.Timeout):
            return RuntimeBusy(f"the engine is away while {doing}", away=True)
        case requests.RequestException() | TimeoutError():
            return RuntimeBusy(f"the engine did not answer while {doing}")
        case DockerException() | OSError():
            return RuntimeBusy(f"the engine is away while {doing}: {error}", away=True)
        case _:
            return RuntimeBusy(f"{type(error).__name__} while {doing}: {error}")


def classify(status: int, text: str, doing: str) -> RuntimeFailed:
    """Our error for an engine's answer; `status` 0 for an error inside a 200 stream."""
    shown = plain(text)
    for rule in RULES:
        if (not rule.statuses or status in rule.statuses) and rule.pattern.search(text):
            message = rule.message.format(text=shown)
            if rule.code == OVERLAY:
                return RuntimeBusy(message, retry_in=OVERLAY_SECONDS)
            return RuntimeBusy(message) if rule.code == BUSY else RuntimeRefused(message, rule.code)
    if status == 0:
        return RuntimeRefused(shown, "refused")
    return RuntimeBusy(f"the engine is in trouble while {doing}: {shown}")


def plain(text: str) -> str:
    """The engine's sentence without its packing, one line, of bearable length."""
    line = " ".join(text.split()).removeprefix("Error response from daemon: ")
    for packing in ("driver failed programming external connectivity on endpoint", "OCI runtime create failed:"):
        line = line.replace(packing, "").strip()
    return line if len(line) <= 400 else f"{line[:399]}…"
