"""Certificates for a cluster that the tests make: an authority, and what it signs."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFE = timedelta(days=30)
_BEFORE = timedelta(days=60)
_KEY_BITS = 2048


@dataclass(frozen=True)
class Extensions:
    """What an authority's certificate says beyond being one. Authorities of real clusters leave
    some of it out."""

    key_usage: bool = True
    identifiers: bool = True


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, in PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """Signs certificates for servers and clients."""

    def __init__(
        self, certificate: x509.Certificate, key: rsa.RSAPrivateKey, extensions: Extensions
    ) -> None:
        self._certificate = certificate
        self._key = key
        self._extensions = extensions

    @classmethod
    def create(cls, name: str, extensions: Extensions = Extensions()) -> Self:
        key = _new_key()
        subject = _name(name)
        builder = _builder(subject, subject, key, datetime.now(UTC) + _LIFE).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        if extensions.key_usage:
            builder = builder.add_extension(_SIGNS, critical=True)
        if extensions.identifiers:
            own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
            builder = builder.add_extension(own, critical=False)
        return cls(builder.sign(key, hashes.SHA256()), key, extensions)

    @property
    def certificate(self) -> bytes:
        """In PEM."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self,
        common_name: str,
        *,
        organization: str = "",
        names: Sequence[str] = (),
        until: datetime | None = None,
    ) -> Pair:
        """For a client of this name and group, and for a server of these host names and
        addresses."""
        key = _new_key()
        subject = _name(common_name, organization)
        builder = _builder(
            subject, self._certificate.subject, key, until or datetime.now(UTC) + _LIFE
        ).add_extension(
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
            ),
            critical=False,
        )
        if names:
            alternative = x509.SubjectAlternativeName([_general(each) for each in names])
            builder = builder.add_extension(alternative, critical=False)
        if self._extensions.identifiers:
            issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
            builder = builder.add_extension(issuer, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return Pair(certificate.public_bytes(serialization.Encoding.PEM), private_pem(key))


def account_keys() -> Pair:
    """The key pair by which an API server signs and checks the tokens of ServiceAccounts; the
    public key in place of a certificate."""
    key = _new_key()
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return Pair(public, private_pem(key))


def private_pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


_SIGNS = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)


def _name(common: str, organization: str = "") -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    if organization:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(attributes)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: rsa.RSAPrivateKey, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - _BEFORE)
        .not_valid_after(until)
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
