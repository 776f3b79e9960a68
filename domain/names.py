"""The names that an installation with a domain serves to the outside (spec 3.9)."""

from __future__ import annotations

from uuid import UUID


def service_fqdn(unique_name: str, *, stack: str | None, account: str, domain: str) -> str:
    """`NAME[.STACK].USER.svc.DOMAIN`: all hosts with published ports of the service."""
    return f"{_within(unique_name, stack)}.{account}.svc.{domain}"


def container_fqdn(name: str, *, stack: str | None, account: str, domain: str) -> str:
    """`NAME-K[.STACK].USER.cont.DOMAIN`: the container's host."""
    return f"{_within(name, stack)}.{account}.cont.{domain}"


def node_fqdn(node: UUID, *, account: str, domain: str) -> str:
    """`NODE8-USER.node.DOMAIN`: the host."""
    return f"{str(node)[:8]}-{account}.node.{domain}"


def _within(name: str, stack: str | None) -> str:
    return f"{name}.{stack}" if stack else name
