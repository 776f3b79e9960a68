"""Link variables: what a client container's environment holds about the services it is linked to.

Spec section 3. The seed's example is the golden test (tests/domain/test_links.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from domain.container import ALIVE, Container, Want
from domain.networks import SHARED, Fleet, Form
from domain.spec import Env, Transport


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where one inner port of a container can be reached by the client."""

    protocol: Transport
    inner_port: int
    address: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One contributing container of the target: its index, its own variables, its endpoints on a shared network.

    `published`: where its published ports are reached without one; `node`: where it is.
    """

    index: int
    env: Env
    endpoints: tuple[Endpoint, ...]
    published: tuple[Endpoint, ...] = ()
    node: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkTarget:
    """A link as the planner sees it: the name in the client, the target's address in the API and its containers."""

    alias: str
    api_url: str
    sources: tuple[Source, ...]


def mangle(alias: str) -> str:
    """An alias as the prefix of a variable name: upper case, anything but ASCII letters and digits is `_`."""
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in alias).upper()


def block(prefix: str, source: Source) -> dict[str, str]:
    """The variables of one container under one prefix (spec 3.2)."""
    out = {f"{prefix}_ENV_{key}": value for key, value in source.env}
    first = True
    for end in _one_per_inner_port(source.endpoints):
        url = f"{end.protocol.value}://{end.address}:{end.port}"
        if first:
            out[f"{prefix}_PORT"] = url
            first = False
        key = f"{prefix}_PORT_{end.inner_port}_{end.protocol.value.upper()}"
        out[key] = url
        out[f"{key}_ADDR"] = end.address
        out[f"{key}_PORT"] = str(end.port)
        out[f"{key}_PROTO"] = end.protocol.value
    return out


def _one_per_inner_port(endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    """tcp before udp, then by inner port; of an inner port mapped twice the lowest reachable port stays."""
    lowest: dict[tuple[bool, int], Endpoint] = {}
    for end in sorted(endpoints, key=lambda end: end.port):
        lowest.setdefault((end.protocol is not Transport.TCP, end.inner_port), end)
    return [lowest[key] for key in sorted(lowest)]


def link_variables(alias: str, sources: Sequence[Source], api_url: str | None) -> dict[str, str]:
    """The variables of a whole service under one alias; the unindexed ones are the lowest index's."""
    prefix = mangle(alias)
    out: dict[str, str] = {}
    ordered = sorted(sources, key=lambda source: source.index)
    for source in ordered:
        out |= block(f"{prefix}_{source.index}", source)
    if ordered:
        out |= block(prefix, ordered[0])
    if api_url:
        out[f"{prefix}_TUTUM_API_URL"] = api_url
    return out


def client_environment(links: Sequence[LinkTarget]) -> Env:
    """The link variables of a client container, sorted by name.

    Where two links give the same name, the one that names it without an index wins (spec 3.2, collision):
    the longer prefix belongs to the explicitly named link.
    """
    out: dict[str, str] = {}
    for link in sorted(links, key=lambda each: (len(mangle(each.alias)), each.alias)):
        out |= link_variables(link.alias, link.sources, link.api_url)
    return tuple(sorted(out.items()))


def sibling_environment(service_name: str, siblings: Sequence[Source]) -> Env:
    """What a sequential service's container learns of the ones before it: indexed blocks only (spec 3.6)."""
    out: dict[str, str] = {}
    for source in siblings:
        out |= block(f"{mangle(service_name)}_{source.index}", source)
    return tuple(sorted(out.items()))


def contributes(container: Container) -> bool:
    """Whether the container still has an address: Running, Stopping or Terminating (spec 3.1)."""
    if container.terminated_at is not None or container.seen is None:
        return False
    return container.seen.state in ALIVE and (
        container.want is not Want.RUN or container.seen.start_gen >= container.start_gen
    )


def source_of(container: Container, fleet: Fleet | None = None, account: str = "") -> Source:
    """A contributing container: host name and inner port; with a fleet also where its ports are published."""
    address = fleet.address(container.name, container.node_id, account) if fleet else ""
    spec = container.spec
    return Source(
        index=container.slot,
        env=tuple((dict(spec.image_env) | dict(spec.user_env)).items()),
        endpoints=tuple(
            Endpoint(protocol=port.protocol, inner_port=port.inner_port, address=spec.hostname, port=port.inner_port)
            for port in spec.ports
        ),
        published=tuple(
            Endpoint(protocol=port.protocol, inner_port=port.inner_port, address=address, port=port.outer_port)
            for port in spec.ports
            if port.outer_port is not None and address
        ),
        node=container.node_id,
    )


def seen_through(source: Source, form: Form) -> Source:
    """The container as a client finds it: without a shared network what is not published is left out (spec 3.3)."""
    if form in SHARED:
        return source
    return replace(source, endpoints=source.published if form is Form.PORTS else ())
