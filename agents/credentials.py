"""What a joined host keeps of who it is: its key, its certificate, the authority, and where control planes are.

Files of their own in the agent's state directory, all 0600. The key is made here and never leaves (RELIABILITY S25).
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import TypeAdapter, ValidationError

from agents.dial import client_context
from agents.frames import Credential
from agents.ledger import write_whole

JOINED, KEY, CERTIFICATE = "joined.json", "node.key", "node.crt"
MOST_URLS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """The node that this host is, of which installation, and the doors of its control planes, the best one first."""

    cluster_id: UUID
    node_id: UUID
    name: str
    authority: str
    control_planes: tuple[str, ...]
    docker_host: str | None = None


_PAGE: TypeAdapter[Membership] = TypeAdapter(Membership)


def load(directory: Path) -> Membership | None:
    """What was stored; None on a host that did not join. Raises ValueError for a file that cannot be read."""
    try:
        content = (directory / JOINED).read_bytes()
    except FileNotFoundError:
        return None
    try:
        return _PAGE.validate_json(content)
    except ValidationError as error:
        raise ValueError(f"{directory / JOINED} is damaged: remove it and join again") from error


def store(directory: Path, membership: Membership, certificate: str) -> None:
    """Keep it; the page last, so that who finds it finds the rest."""
    store_certificate(directory, certificate)
    write_whole(directory / JOINED, _PAGE.dump_json(membership, indent=1))


def store_urls(directory: Path, membership: Membership, urls: tuple[str, ...]) -> Membership:
    """The same with other doors."""
    changed = replace(membership, control_planes=urls[:MOST_URLS])
    write_whole(directory / JOINED, _PAGE.dump_json(changed, indent=1))
    return changed


def store_certificate(directory: Path, certificate: str) -> None:
    """Keep a (new) certificate for the same key."""
    write_whole(directory / CERTIFICATE, certificate.encode())


def membership(found: Credential, urls: tuple[str, ...], docker_host: str | None) -> Membership:
    """What to store of a credential."""
    return Membership(
        cluster_id=UUID(found.cluster_id),
        node_id=UUID(found.node_id),
        name=found.name,
        authority=found.authority,
        control_planes=tuple(dict.fromkeys((*urls, *found.control_planes)))[:MOST_URLS],
        docker_host=docker_host,
    )


def request(directory: Path) -> str:
    """A signing request for the host's key, which is made at first use. In PEM."""
    path = directory / KEY
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        made = ec.generate_private_key(ec.SECP256R1())
        write_whole(
            path,
            made.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path} is not a key of ours")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node")])
    asked = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return asked.public_bytes(serialization.Encoding.PEM).decode()


def context(directory: Path, membership: Membership) -> ssl.SSLContext:
    """TLS as this node, to control planes of its installation only. Raises OSError when the files are not there."""
    made = client_context(membership.authority)
    made.load_cert_chain(directory / CERTIFICATE, directory / KEY)
    return made


def half_life(directory: Path) -> tuple[datetime, datetime]:
    """When half of the certificate's time is over, and when all of it is."""
    found = x509.load_pem_x509_certificate((directory / CERTIFICATE).read_bytes())
    begin, end = found.not_valid_before_utc, found.not_valid_after_utc
    return begin + (end - begin) / 2, end


def expired(directory: Path) -> bool:
    """Whether the certificate is of no use any more."""
    return half_life(directory)[1] <= datetime.now(UTC)


def forget(directory: Path) -> None:
    """Be nobody's node. All else that it was told goes too, with the passwords in it: that installation is no longer
    ours."""
    for name in (JOINED, CERTIFICATE, KEY):
        (directory / name).unlink(missing_ok=True)
    for name in ("ledger", "copies"):
        for suffix in (".json", ".new", ".broken"):
            (directory / name).with_suffix(suffix).unlink(missing_ok=True)
