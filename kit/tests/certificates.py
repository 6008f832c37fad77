"""A certificate authority for tests."""

from __future__ import annotations

import datetime as dt
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


class Authority:
    """Issues certificates; `issue` writes `<name>.pem` and `<name>.key` to its folder."""

    def __init__(self, folder, name: str = "ca") -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.path = folder / f"{name}.pem"
        self._write(self.path, self._certificate(self.name, self.key, [], is_authority=True))

    def issue(self, name: str, *more: str, common_name: str = "", serial: int = 0):
        """Return the paths of certificate and key of `name`, which stands in it as a DNS name, as do `more`."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [*map(x509.DNSName, (name, *more)), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name or name)])
        paths = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        self._write(paths[0], self._certificate(subject, key, names, serial=serial))
        paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return paths

    def _certificate(self, subject, key, names, *, is_authority: bool = False, serial: int = 0):
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(serial or x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=5))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def _write(self, path, certificate) -> None:
        path.write_bytes(certificate.public_bytes(Encoding.PEM))
