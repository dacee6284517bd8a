"""What is trusted of an upstream, and what we show it of ourselves."""

from __future__ import annotations

import ssl
from pathlib import Path

import certifi

from shin_gateway.upstream.options import UpstreamOptions


def client_certificate(client_certs: str | None, host: str) -> Path | None:
    """mitmproxy's rule: one file for all hosts, or a folder with one HOST.pem each."""
    if not client_certs:
        return None
    path = Path(client_certs).expanduser()
    path = path / f"{host}.pem" if path.is_dir() else path
    return path if path.is_file() else None


def make_context(options: UpstreamOptions, certificate: Path | None) -> ssl.SSLContext:
    if options.trusted_ca or options.trusted_confdir:
        context = ssl.create_default_context(cafile=options.trusted_ca, capath=options.trusted_confdir)
    else:
        context = ssl.create_default_context(cafile=certifi.where())
    if options.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        context.load_cert_chain(certificate)
    return context
