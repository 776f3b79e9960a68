"""The installation's certificate authority: it says which process is a control plane and which host is which node.

The key is sealed with the installation's secret and shared through the database, so that every control plane issues
and checks alike. Nodes make their keys themselves; only requests come here (RELIABILITY S25).
"""

from __future__ import annotations

import hashlib
import ssl
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from agents.dial import client_context
from agents.frames import CONTROL_PLANE
from app.secretbox import SecretBox
from domain.errors import Invalid
from orchestrator.store import fleet, nodes
from orchestrator.store.db import Database

NODE_DAYS = 90
SERVER_DAYS = 30
AUTHORITY_DAYS = 3650
SKEW = timedelta(hours=1)
"""Certificates are valid from an hour ago: a host's clock that is behind would find them not yet valid."""


@dataclass(frozen=True, slots=True)
class Authority:
    """The authority, opened."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)
    cluster_id: UUID

    @property
    def pem(self) -> str:
        """Its certificate."""
        return _pem(self.certificate)

    @property
    def digest(self) -> str:
        """SHA-256 of its certificate, in hex: what a join token carries."""
        return digest(self.pem)

    def issue(self, request: str, node_id: UUID) -> str:
        """A node's certificate for the key in its request, in PEM. Raises Invalid."""
        asked = read_request(request)
        name = self._node_name(node_id)
        return _pem(self._sign(name, asked.public_key(), ExtendedKeyUsageOID.CLIENT_AUTH, NODE_DAYS, names=()))

    def server_context(self) -> ssl.SSLContext:
        """TLS for the door: a certificate of this process's own, and nodes' certificates of this authority only."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=self.pem)
        self.refresh(context)
        return context

    def node_context(self, node_id: UUID) -> ssl.SSLContext:
        """TLS as the node whose agent is in this process, to other control planes. Blocking."""
        context = client_context(self.pem)
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.CLIENT_AUTH
        _load(context, key, self._sign(self._node_name(node_id), key.public_key(), usage, SERVER_DAYS, names=()))
        return context

    def refresh(self, context: ssl.SSLContext) -> None:
        """Give the context a new certificate. Blocking."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, CONTROL_PLANE)])
        made = self._sign(name, key.public_key(), ExtendedKeyUsageOID.SERVER_AUTH, SERVER_DAYS, names=(CONTROL_PLANE,))
        _load(context, key, made)

    def _node_name(self, node_id: UUID) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, str(self.cluster_id)),
                x509.NameAttribute(NameOID.COMMON_NAME, str(node_id)),
            ]
        )

    def _sign(
        self, name: x509.Name, key: object, usage: x509.ObjectIdentifier, days: int, names: tuple[str, ...]
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.certificate.subject)
            .public_key(key)  # type: ignore[arg-type]
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - SKEW)
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(map(x509.DNSName, names)), critical=False)
        return builder.sign(self.key, hashes.SHA256())


class WrongSecret(RuntimeError):
    """The authority was sealed with another installation secret than this process has."""


async def open_authority(db: Database, secrets: SecretBox) -> Authority:
    """The installation's authority, made by whoever asks first. Raises WrongSecret, DatabaseAway."""
    async with db.read() as conn:
        cluster_id, row = await nodes.cluster_id(conn), await fleet.authority(conn)
    if row is None:
        made = _make(cluster_id, secrets)
        async with db.transaction() as conn:
            row = await fleet.found_authority(conn, made)
    key = secrets.unseal(row.sealed_key)
    if key is None:
        raise WrongSecret(
            "the installation's certificate authority was sealed with another secret: give all control planes the same"
            " TUTELA_SECRET_KEY (or the same file secret-key)"
        )
    loaded = serialization.load_pem_private_key(key.encode(), None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey)  # noqa: S101 - made below
    return Authority(x509.load_pem_x509_certificate(row.certificate.encode()), loaded, cluster_id)


def _make(cluster_id: UUID, secrets: SecretBox) -> fleet.AuthorityRow:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Tutela {cluster_id}")])
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return fleet.AuthorityRow(certificate=_pem(made), sealed_key=secrets.seal(private_pem(key).decode()))


def read_request(request: str) -> x509.CertificateSigningRequest:
    """A host's signing request, its own signature checked. Raises Invalid."""
    try:
        asked = x509.load_pem_x509_csr(request.encode())
        if not isinstance(asked.public_key(), ec.EllipticCurvePublicKey) or not asked.is_signature_valid:
            raise ValueError
    except (ValueError, InvalidSignature) as error:
        raise Invalid(
            {"request": "must be a certificate signing request with an elliptic-curve key, in PEM"}
        ) from error
    return asked


def key_digest(request: str) -> bytes:
    """SHA-256 of the public key in a request. Raises Invalid."""
    return hashlib.sha256(
        read_request(request)
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    ).digest()


def digest(pem: str) -> str:
    """SHA-256 of a certificate, in hex."""
    return x509.load_pem_x509_certificate(pem.encode()).fingerprint(hashes.SHA256()).hex()


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The key in PEM, not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _load(context: ssl.SSLContext, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    # The ssl module takes keys from files only.
    with tempfile.TemporaryDirectory(prefix="tutela-") as folder:
        path = Path(folder) / "own.pem"
        path.touch(mode=0o600)
        path.write_bytes(private_pem(key) + _pem(certificate).encode())
        context.load_cert_chain(path)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
