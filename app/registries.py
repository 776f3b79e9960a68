"""Ask a registry whether it lets a user in, as the registry's protocol has it (spec 4.3).

A registry's name is a user's text, and this process reaches more than the user does (RELIABILITY S28): the name is
looked up once and the connection goes to the address found, never to link-local ones, where clouds keep the host's own
credentials. Private addresses are allowed, since self-hosted registries live there. No redirects, and nothing of an
answer is passed on but its meaning.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import socket
import ssl
from dataclasses import dataclass

import httpx2
import structlog

from domain.errors import Invalid
from domain.registry import HUB, RegistryAuth, registry_of, repository_of

log = structlog.get_logger("registries")
HUB_API = "registry-1.docker.io"
STEP_SECONDS, ALL_SECONDS = 5.0, 15.0
MOST_BYTES = 64 * 1024
_FORBIDDEN = [
    ipaddress.ip_network(block)
    for block in ("169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128", "224.0.0.0/4", "ff00::/8")
]
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


class _Unusable(Exception):
    """The registry cannot be asked; the text says why, after its name."""


class _Untrusted(_Unusable):
    """Its certificate is nobody's that this host trusts: no reason to go on without encryption."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: httpx2.Headers
    body: bytes


async def check_login(image: str, auth: RegistryAuth) -> None:
    """Return when the image's registry takes the credentials, or asks for none.

    Raises Invalid naming `password` when it refuses them, and `name` when it cannot be asked.
    """
    host = registry_of(image)
    try:
        async with asyncio.timeout(ALL_SECONDS):
            taken = await _let_in(HUB_API if host == HUB else host, repository_of(image), auth)
    except TimeoutError:
        raise Invalid({"name": f"the registry {host} does not answer"}) from None
    except _Unusable as error:
        raise Invalid({"name": f"the registry {host} {error}"}) from None
    if not taken:
        raise Invalid({"password": f"the registry {host} refuses this username and password"})


async def _let_in(host: str, repository: str, auth: RegistryAuth) -> bool:
    """Whether the registry lets the user in. The first question carries no credentials: it finds out how to ask."""
    scheme, answer = await _first(host)
    url = f"{scheme}://{host}/v2/"
    if answer.status == 200:
        return True
    if answer.status != 401:
        raise _Unusable(f"answered {answer.status} where a registry says 200 or 401")
    challenges = ", ".join(answer.headers.get_list("www-authenticate"))
    kind = challenges.partition(" ")[0].lower()
    if kind == "basic":
        answer = await _get(url, auth=auth)
    elif kind == "bearer":
        token = await _token(dict(_PARAMETER.findall(challenges)), scheme, repository, auth)
        if token is None:
            return False
        answer = await _get(url, token=token)
    else:
        raise _Unusable("asks for a login of another kind than Basic and Bearer")
    if answer.status in {401, 403}:
        return False
    if answer.status != 200:
        raise _Unusable(f"answered the login with {answer.status}")
    return True


async def _first(host: str) -> tuple[str, _Answer]:
    """The scheme that the registry speaks, and its answer. Plain HTTP only in private networks, as engines do."""
    try:
        return "https", await _get(f"https://{host}/v2/")
    except _Untrusted:
        raise
    except _Unusable:
        if not await _private(host):
            raise
        return "http", await _get(f"http://{host}/v2/")


async def _token(challenge: dict[str, str], scheme: str, repository: str, auth: RegistryAuth) -> str | None:
    """The token that the registry's token server gives for the credentials; None when it refuses them."""
    realm = challenge.get("realm", "")
    if not realm.startswith(("https://", "http://") if scheme == "http" else "https://"):
        raise _Unusable("names a token server that is not safe to send a password to")
    try:
        url = httpx2.URL(realm).copy_merge_params(
            {"account": auth.username, "scope": f"repository:{repository}:pull"}
            | ({"service": challenge["service"]} if "service" in challenge else {})
        )
    except httpx2.InvalidURL:
        raise _Unusable("names a token server that is no address") from None
    answer = await _get(str(url), auth=auth)
    # Some token servers say 400 or 403 for a wrong password, and 404 for an unknown user.
    if 400 <= answer.status < 500 and answer.status != 429:
        return None
    if answer.status != 200:
        raise _Unusable(f"has a token server that answers {answer.status}")
    try:
        content = json.loads(answer.body)
        return str(content.get("token") or content["access_token"])
    except (ValueError, KeyError, AttributeError):
        raise _Unusable("has a token server that gives no token") from None


async def _get(url: str, *, auth: RegistryAuth | None = None, token: str | None = None) -> _Answer:
    """One GET, to an address that was looked up and found harmless. Raises _Unusable."""
    try:
        asked = httpx2.URL(url)
    except httpx2.InvalidURL:
        raise _Unusable("has a name that is no address") from None
    address = (await _addresses(asked.host, asked.port or (443 if asked.scheme == "https" else 80)))[0]
    headers = {"Host": asked.netloc.decode(), "User-Agent": "tutela", "Accept": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    basic = httpx2.BasicAuth(auth.username, auth.password) if auth else None
    try:
        async with (
            httpx2.AsyncClient(
                timeout=STEP_SECONDS, follow_redirects=False, trust_env=False, verify=ssl.create_default_context()
            ) as client,
            client.stream(
                "GET", asked.copy_with(host=str(address)), headers=headers, auth=basic,
                extensions={"sni_hostname": asked.host},
            ) as answer,
        ):  # fmt: skip
            body = b""
            async for part in answer.aiter_bytes():
                body += part
                if len(body) > MOST_BYTES:
                    raise _Unusable("answers more than a registry would")
            return _Answer(answer.status_code, answer.headers, body)
    except httpx2.HTTPError as error:
        if _untrusted(error):
            raise _Untrusted("has a certificate that this host does not trust: add its authority here") from None
        # Closed, silent or no HTTP: which of them is not told, or this were a scanner of ports (S28).
        log.info("a registry cannot be reached", host=asked.host, kind=type(error).__name__)
        raise _Unusable(f"cannot be reached over {asked.scheme}") from None


def _untrusted(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error is not None


Address = ipaddress.IPv4Address | ipaddress.IPv6Address


async def _addresses(host: str, port: int) -> list[Address]:
    """Where the host is. Raises _Unusable for a name that leads nowhere, or to where no registry is."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise _Unusable("has a name that leads nowhere") from None
    out: list[Address] = []
    for _, _, _, _, place in found:
        address: Address = ipaddress.ip_address(str(place[0]).partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if any(address.version == block.version and address in block for block in _FORBIDDEN):
            raise _Unusable(f"is at {address}, where no registry is asked: addresses of a link are the host's own")
        out.append(address)
    return out


async def _private(host: str) -> bool:
    url = httpx2.URL(f"http://{host}/")
    return all(each.is_private for each in await _addresses(url.host, url.port or 80))
