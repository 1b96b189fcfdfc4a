"""An authority with a server's certificate for 127.0.0.1 and a client's, in files named as Docker names them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


class Pki:
    """All of it, made anew in `folder`; `client` is what AUTOHEAL_DOCKER_CERT_PATH wants."""

    def __init__(self, folder: Path) -> None:
        self.client = folder / "client"
        self.client.mkdir(parents=True)
        self.ca = self.client / "ca.pem"
        self.server, self.server_key = folder / "server.pem", folder / "server-key.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("autoheal test authority")
        certificate = self._builder("autoheal test authority", self._key.public_key()).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        self.ca.write_bytes(certificate.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))
        self._issue("server", ExtendedKeyUsageOID.SERVER_AUTH, self.server, self.server_key)
        self._issue("client", ExtendedKeyUsageOID.CLIENT_AUTH, self.client / "cert.pem", self.client / "key.pem")

    def _builder(self, name: str, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        serial = x509.random_serial_number()
        return x509.CertificateBuilder(
            self._name, _name(name), key, serial, now - timedelta(days=1), now + timedelta(days=1)
        )

    def _issue(self, name: str, usage: x509.ObjectIdentifier, path: Path, key_path: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            self._builder(name, key.public_key())
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        path.write_bytes(certificate.public_bytes(Encoding.PEM))
        key_path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
