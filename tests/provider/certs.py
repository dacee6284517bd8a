"""A throw-away certificate authority and a leaf for each server name that a client asks for."""

from __future__ import annotations

import datetime
import functools
import ipaddress
import ssl
import weakref
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

USAGES = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
PEM = serialization.Encoding.PEM
OWN_NAMES = ("localhost", "127.0.0.1", "::1")


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:60])])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
    )


class Authority:
    """Signs leaves. `ca_file` is what a client must trust; everything it writes is under `folder`."""

    def __init__(self, folder: Path, *, mutual: bool = False) -> None:
        self.folder = folder
        self._mutual = mutual
        self.ca_file = folder / "fake-provider-ca.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        self._cert = self._self_signed()
        self.ca_file.write_bytes(self._cert.public_bytes(PEM))
        self._names: weakref.WeakKeyDictionary[ssl.SSLObject, str] = weakref.WeakKeyDictionary()
        self.context = functools.cache(self._make_context)

    def server_context(self) -> ssl.SSLContext:
        """A context that changes itself to a leaf of the asked name; without SNI it is good for loopback."""
        context = self._make_context(*OWN_NAMES)
        context.sni_callback = self._choose
        return context

    def client_file(self, name: str) -> Path:
        """A certificate and its key, with which a client may come in where `mutual` is asked for."""
        return self._write((name,), self.folder / f"client-{name}.pem")

    def sni(self, connection: ssl.SSLObject | None) -> str:
        """The server name that the client asked for, or ""."""
        return self._names.get(connection, "") if connection is not None else ""

    def _choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        if name:
            self._names[connection] = name
            connection.context = self.context(name)

    def _self_signed(self) -> x509.Certificate:
        name = _name("Fake provider CA (tests only)")
        public = self._key.public_key()
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        return (
            _builder(name, name, public)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def _leaf(self, names: tuple[str, ...]) -> x509.Certificate:
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            _builder(_name(names[0]), self._cert.subject, self._leaf_key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
            .add_extension(x509.ExtendedKeyUsage(USAGES), critical=False)
            .add_extension(issuer, critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def _make_context(self, *names: str) -> ssl.SSLContext:
        file = self._write(names, self.folder / f"leaf-{hashes_of(names)}.pem")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        context.set_alpn_protocols(["http/1.1"])
        if self._mutual:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.ca_file)
        file.unlink()
        return context

    def _write(self, names: tuple[str, ...], file: Path) -> Path:
        private = self._leaf_key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        file.write_bytes(self._leaf(names).public_bytes(PEM) + private)
        return file


def hashes_of(names: tuple[str, ...]) -> str:
    digest = hashes.Hash(hashes.SHA256())
    digest.update("|".join(names).encode())
    return digest.finalize().hex()[:16]
