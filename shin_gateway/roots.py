"""PEM files for clients' CA variables: the roots that a user already trusts, and our authority.

Some variables add to a client's roots and some replace them, so a file with our certificate alone would cut a client
off from every host that is tunnelled. Each file names its sources in `# from` lines: it can be made
again when our certificate changes, and a shell inside `shin exec` that starts another keeps its roots.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import ssl
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

ADDING = ("NODE_EXTRA_CA_CERTS", "CODEX_CA_CERTIFICATE")
"""Variables whose file is added to a client's own roots."""
REPLACING = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
    "PIP_CERT",
    "AWS_CA_BUNDLE",
    "DENO_CERT",
)
"""Variables whose file replaces the roots in at least one client. The first is a user's whole choice of roots."""
FOLDER = "SSL_CERT_DIR"

_SYSTEM = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_CERTIFICATE = re.compile(r"-----BEGIN (?:TRUSTED )?CERTIFICATE-----(.+?)-----END (?:TRUSTED )?CERTIFICATE-----", re.S)
_FROM = re.compile(r"^# from (.+)$", re.M)
_SEED = "public roots"
"""Source line that stands for this machine's public roots, wherever they are found at the time."""


@dataclass(frozen=True)
class Trust:
    """Paths for a child's variables: `extra` where a file adds, `bundle` where it replaces; and what went wrong."""

    extra: Path
    bundle: Path
    warnings: tuple[str, ...] = ()


def write(folder: Path, own: Path, environ: Mapping[str, str]) -> Trust:
    """Make the files in `folder` for what `environ` trusts and `own`, our certificate. Raises OSError."""
    warnings: list[str] = []
    added = _named(environ, ADDING, folder, warnings)
    whole = _named(environ, REPLACING[:1], folder, warnings)
    replacing = [*(whole or [_SEED]), *_named(environ, REPLACING[1:], folder, warnings)]
    extra = _file(folder, "extra", added, own) if added else own
    bundle = _file(folder, "bundle", _unique([*replacing, *_listed(environ), *added]), own)
    return Trust(extra, bundle, tuple(warnings))


def refresh(folder: Path, own: Path) -> None:
    """Make every file of ours again, and the default bundle where there is none."""
    _file(folder, "bundle", [_SEED], own)
    for path in [*folder.glob("bundle-*.pem"), *folder.glob("extra-*.pem")]:
        _put(path, _sources(path), own)


def certificates(text: str) -> list[str]:
    """The certificates in a PEM text, each as its base64 without white space."""
    return ["".join(match.split()) for match in _CERTIFICATE.findall(text)]


def replace(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file so that a reader sees the old or the new content, never a part, and a crash leaves no wreck."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _named(environ: Mapping[str, str], variables: Iterable[str], folder: Path, warnings: list[str]) -> list[str]:
    found: list[str] = []
    for variable in variables:
        value = environ.get(variable)
        if not value:
            continue
        path = Path(value).absolute()
        if path.parent == folder.absolute():
            found += _sources(path)
        elif _readable(path):
            found.append(str(path))
        else:
            warnings.append(f"{variable}={value} cannot be read; left out")
    return _unique(found)


def _listed(environ: Mapping[str, str]) -> list[str]:
    folders = [Path(item).absolute() for item in environ.get(FOLDER, "").split(os.pathsep) if item]
    return [str(path) for folder in folders if folder.is_dir() for path in sorted(folder.iterdir()) if _readable(path)]


def _sources(path: Path) -> list[str]:
    """What one of our own files was made from; our bare certificate was made from nothing."""
    return _FROM.findall(_read(path))


def _file(folder: Path, stem: str, sources: list[str], own: Path) -> Path:
    default = sources == [_SEED]
    digest = hashlib.sha256("\n".join(sources).encode()).hexdigest()[:8]
    path = folder / (f"{stem}.pem" if default else f"{stem}-{digest}.pem")
    _put(path, sources, own)
    return path


def _put(path: Path, sources: list[str], own: Path) -> None:
    texts = [own.read_text(), *(_public_roots() if source == _SEED else _read(Path(source)) for source in sources)]
    unique = dict.fromkeys(certificate for text in texts for certificate in certificates(text))
    head = "".join(f"# from {source}\n" for source in sources)
    content = (head + "".join(map(_pem, unique))).encode()
    if not path.exists() or path.read_bytes() != content:
        replace(path, content)


def _public_roots() -> str:
    """certifi's roots, and the system's, where an administrator may have added the company's own."""
    import certifi

    default = ssl.get_default_verify_paths().cafile
    system = next((path for path in (default, *_SYSTEM) if path and _readable(Path(path))), None)
    return _read(Path(certifi.where())) + (_read(Path(system)) if system else "")


def _pem(body: str) -> str:
    lines = "\n".join(body[i : i + 64] for i in range(0, len(body), 64))
    return f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace")
    except OSError:
        return ""


def _readable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.R_OK)


def _unique(items: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(items))
