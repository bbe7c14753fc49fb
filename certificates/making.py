"""Creates the webhook's certificates: an authority, and certificates that it signs."""

import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from spillover.serving.certificates import Pair, UnreadableError

_BACKDATED = timedelta(minutes=5)
"""The clocks of the API server and the keeper may differ."""


def new_authority(now: datetime, life: timedelta) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("spillover-webhook-ca")
    certificate = (
        _builder(name, name, key, now, life)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pair(certificate, key)


def new_certificate(authority: Pair, names: Sequence[str], now: datetime, life: timedelta) -> Pair:
    """Creates a certificate for a server with these DNS names and addresses. Raises
    UnreadableError."""
    issuer = _certificate(authority.certificate)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder(_name("spillover-webhook"), issuer.subject, key, now, life)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([_general(each) for each in names]), critical=False
        )
        .add_extension(_issuer(issuer), critical=False)
        .sign(_key(authority.key), hashes.SHA256())
    )
    return _pair(certificate, key)


def is_for(certificate: bytes, names: Sequence[str]) -> bool:
    """Whether a certificate is for exactly these names. Raises UnreadableError."""
    try:
        extension = _certificate(certificate).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
    except x509.ExtensionNotFound:
        return False
    return set(extension.value) == {_general(each) for each in names}


def is_signed_by(certificate: bytes, authority: bytes) -> bool:
    """Whether the authority has signed the certificate. Raises UnreadableError."""
    try:
        _certificate(certificate).verify_directly_issued_by(_certificate(authority))
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def belong_together(pair: Pair) -> bool:
    """Whether the key belongs to the certificate. Raises UnreadableError."""
    return _certificate(pair.certificate).public_key() == _key(pair.key).public_key()


def split(bundle: bytes) -> list[bytes]:
    """The certificates of a bundle, each in PEM. Raises UnreadableError."""
    if not bundle.strip():
        return []
    try:
        found = x509.load_pem_x509_certificates(bundle)
    except ValueError as error:
        raise UnreadableError(str(error)) from error
    return [each.public_bytes(serialization.Encoding.PEM) for each in found]


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime,
    life: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + life)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _issuer(authority: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """Identifies the signing key, which strict clients require. RFC 5280, section 4.2.1.1."""
    try:
        own = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:  # an older authority, without this extension
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(_public_key(authority))
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own.value)


def _public_key(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise UnreadableError("the authority's key is not of an elliptic curve")
    return key


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    return Pair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def _certificate(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise UnreadableError(str(error)) from error


def _key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError) as error:
        raise UnreadableError(str(error)) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise UnreadableError("the key is not of an elliptic curve")
    return key
