"""A certificate authority for one test run, and certificates for loopback signed by it; PEM files, thrown away with their folder."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey


class Authority:
    """``file``: its own certificate, which clients trust."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._key, self._certificate = _signed("quantlake tests", None)
        self.file = folder / "authority.pem"
        self.file.write_bytes(_pem(self._certificate))

    def issue(self, name: str, *, days: int = 30) -> Path:
        """A file with the key (PKCS 8, not encrypted) and the certificate of a server on loopback; ``days`` below 0: it has expired so
        long ago."""
        key, certificate = _signed(name, (self._key, self._certificate), days)
        file = self._folder / f"{name}.pem"
        file.write_bytes(_key_pem(key) + _pem(certificate))
        file.chmod(0o600)
        return file


def _signed(
    name: str, by: "tuple[EllipticCurvePrivateKey, x509.Certificate] | None", days: int = 30
) -> "tuple[EllipticCurvePrivateKey, x509.Certificate]":
    """A key and its certificate; ``by`` None: an authority's, signed by itself."""
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer, issuer = (by[0], by[1].subject) if by else (key, subject)
    until = datetime.now(UTC) + timedelta(days=days)
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key()).serial_number(x509.random_serial_number())
    made = made.not_valid_before(until - timedelta(days=60)).not_valid_after(until)
    made = made.add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
    names = [x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("localhost")]
    made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return key, made.sign(signer, hashes.SHA256())


def _pem(certificate: "x509.Certificate") -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def _key_pem(key: "EllipticCurvePrivateKey") -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
