"""The installation's own certificate authority: `home/ca`, in the layout that mitmproxy loads from its confdir.

Its critical X.509 name constraints permit the hosts that policies name and nothing else, so that a stolen key can
impersonate nothing else. It is remade with the same key and subject when the list of hosts grows, so that older copies
in clients' stores keep serving the older hosts. Hosts that policies drop stay until the next renewal: two runs with
different policies must not take each other's hosts away.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import ipaddress
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shin_gateway import roots

VALIDITY = dt.timedelta(days=365)
BACKDATED = dt.timedelta(days=2)
"""For clients whose clock is behind; part of the validity."""
RENEWAL = dt.timedelta(days=30)

_NOBODY = "shin-gateway.invalid"
"""Permitted when no host is named: a list without any DNS name would permit all of them."""
_LISTENERS = {"gateway"}
"""The policy host that means our own listener, which has no certificate of this authority."""

# ffdhe2048 of RFC 7919. mitmproxy writes such a file when there is none; workers that start together would race for it.
_DH_PARAMETERS = """\
-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
"""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class CAError(Exception):
    """The authority cannot be used. The message names the path and what to do."""


class Authority:
    """The authority under `home`; nothing is read or written before `ensure` or a property needs it."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "ca"
        self.key_path = self.folder / "mitmproxy-ca.pem"
        self.cert_path = self.folder / "mitmproxy-ca-cert.pem"
        self.bundle_path = self.folder / "bundle.pem"

    def ensure(self, hosts: Iterable[str]) -> bool:
        """Make or remake the authority where `hosts` (exact names, `*.` patterns, IP addresses) need it.

        True when the certificate changed. Raises `CAError`.
        """
        wanted = subtrees(hosts)
        with _explained(self.folder), self._locked():
            loaded = self._load() if self.key_path.exists() else None
            if loaded is None:
                key, changed = ec.generate_private_key(ec.SECP256R1()), True
            else:
                key, cert = loaded
                current = permitted(cert)
                expiring = cert.not_valid_after_utc - _now() < RENEWAL
                changed = expiring or not all(_covered(name, current) for name in wanted)
                wanted = wanted if expiring else _reduced(wanted | current)
            if changed:
                self._store(key, certificate(key, wanted))
            self._derive()
        return changed

    def renew(self, hosts: Iterable[str]) -> None:
        """Remake the certificate with the same key for exactly these hosts, however long the present one lasts."""
        with _explained(self.folder), self._locked():
            key = self._load()[0] if self.key_path.exists() else ec.generate_private_key(ec.SECP256R1())
            self._store(key, certificate(key, subtrees(hosts)))
            self._derive()

    @property
    def exists(self) -> bool:
        with _explained(self.folder):
            return self.key_path.exists()

    @property
    def cert(self) -> x509.Certificate:
        with _explained(self.folder):
            if not self.key_path.exists():
                raise CAError(f"there is no CA in {self.folder} yet: `shin run` makes it")
            return self._load()[1]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, as `openssl x509 -fingerprint -sha256` writes it."""
        return self.cert.fingerprint(hashes.SHA256()).hex(":").upper()

    @property
    def hosts(self) -> list[str]:
        """What the certificate may be used for: names (each with the names below it) and addresses."""
        return sorted(permitted(self.cert) - {_NOBODY})

    def export(self, form: str = "pem") -> bytes:
        """The certificate, without its key, as `pem` or `der`."""
        encoding = serialization.Encoding.DER if form == "der" else serialization.Encoding.PEM
        return self.cert.public_bytes(encoding)

    def trust(self, environ: Mapping[str, str]) -> roots.Trust:
        """Files for a child's CA variables, so that what `environ` trusts stays trusted and we are added."""
        with _explained(self.folder), self._locked():
            return roots.write(self.folder, self.cert_path, environ)

    def _load(self) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        pem = self.key_path.read_bytes()
        try:
            key = serialization.load_pem_private_key(pem, None)
            cert = x509.load_pem_x509_certificate(pem)
        except (ValueError, TypeError) as error:
            raise CAError(f"{self.key_path} is damaged ({error}): move it away to have a new CA made") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not permitted(cert):
            raise CAError(f"{self.key_path} was not made by Shin (it has no name constraints): move it away")
        if key.public_key() != cert.public_key():
            raise CAError(f"key and certificate in {self.key_path} do not belong together: move it away")
        return key, cert

    def _store(self, key: ec.EllipticCurvePrivateKey, cert: x509.Certificate) -> None:
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        roots.replace(self.key_path, private + cert.public_bytes(serialization.Encoding.PEM), mode=0o600)

    def _derive(self) -> None:
        """Everything that follows from the key file, repaired where a crash or a user left it behind."""
        self.key_path.chmod(0o600)
        dhparam = self.folder / "mitmproxy-dhparam.pem"
        if not dhparam.exists():
            roots.replace(dhparam, _DH_PARAMETERS.encode())
        pem = self._load()[1].public_bytes(serialization.Encoding.PEM)
        if not self.cert_path.exists() or self.cert_path.read_bytes() != pem:
            roots.replace(self.cert_path, pem)
        roots.refresh(self.folder, self.cert_path)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One maker at a time, in a folder that only its owner can enter."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.folder.stat().st_mode & 0o077:
            self.folder.chmod(0o700)
        descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename or folder
        way = f"make {folder} yours (owner, mode 0700) or choose another --home"
        raise CAError(f"cannot use the CA folder: {where}: {error.strerror}; {way}") from None


def subtrees(hosts: Iterable[str]) -> set[str]:
    """The least set of constraint names for policy hosts: `*.openai.azure.com` gives `openai.azure.com`.

    A name covers the names below it; X.509 has nothing tighter that all clients read alike. Raises `CAError` for `*`,
    which would leave no constraint.
    """
    return _reduced({_subtree(host) for host in hosts if host not in _LISTENERS})


def _subtree(host: str) -> str:
    name = _without_port(host.strip().lower()).rstrip(".")
    if address := _address(name):
        return str(address)
    name = name.removeprefix("*.")
    if "*" in name or not all(name.split(".")):
        raise CAError(f"cannot make a name-constrained CA for the host {host!r}: name a domain, like *.example.com")
    try:
        return name.encode("idna").decode()
    except UnicodeError as error:
        raise CAError(f"{host!r} is not a host name: {error}") from None


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0] if host.count(":") == 1 else host


def _address(name: str) -> Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _covered(name: str, by: set[str]) -> bool:
    return name in by or (_address(name) is None and any(name.endswith("." + other) for other in by))


def _reduced(names: set[str]) -> set[str]:
    kept = {name for name in names if not _covered(name, names - {name})}
    return kept - {_NOBODY} if len(kept) > 1 else kept


def permitted(cert: x509.Certificate) -> set[str]:
    """Names and addresses that a certificate's constraints permit; empty when it has no constraints."""
    try:
        constraints = cert.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return set()
    allowed = constraints.permitted_subtrees or ()
    names = {item.value for item in allowed if isinstance(item, x509.DNSName)}
    return names | {str(item.value).partition("/")[0] for item in allowed if isinstance(item, x509.IPAddress)}


def certificate(key: ec.EllipticCurvePrivateKey, names: set[str]) -> x509.Certificate:
    """A self-signed authority for these constraint names."""
    subject = x509.Name([
        x509.NameAttribute(NameOID.COMMON_NAME, _common_name(key)),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Shin Gateway"),
    ])  # fmt: skip
    start = _now() - BACKDATED
    builder = x509.CertificateBuilder(
        issuer_name=subject,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=start,
        not_valid_after=start + VALIDITY,
    )
    for extension, critical in (
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (_key_usage(), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (_constraints(names), True),
    ):
        builder = builder.add_extension(extension, critical)
    return builder.sign(key, hashes.SHA256())


def _common_name(key: ec.EllipticCurvePrivateKey) -> str:
    """Ends in digits of the key, so that the authorities of two machines can be told apart in one store."""
    digest = x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest
    return f"Shin Gateway CA {digest.hex()[:8]}"


def _key_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )


def _constraints(names: set[str]) -> x509.NameConstraints:
    """Permit `names`; whole kinds of name that are not among them are excluded, or X.509 would leave them open."""
    addresses = [address for name in sorted(names) if (address := _address(name))]
    domains = sorted(name for name in names if _address(name) is None) or [_NOBODY]
    versions = {address.version for address in addresses}
    excluded = [
        x509.IPAddress(ipaddress.ip_network(everything))
        for version, everything in ((4, "0.0.0.0/0"), (6, "::/0"))
        if version not in versions
    ]
    networks = [x509.IPAddress(ipaddress.ip_network(address)) for address in addresses]
    return x509.NameConstraints([*map(x509.DNSName, domains), *networks], excluded or None)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(microsecond=0)
