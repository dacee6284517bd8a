"""What goes wrong on the way to an upstream, in our words."""

from __future__ import annotations

import aiohttp

from shin_gateway.call import Call
from shin_gateway.errors import Invalid, Refusal, UpstreamFailed, UpstreamTimeout


class AsRefusals:
    """`with AsRefusals("openai"):` what aiohttp raises before the first part, in our words, with the upstream's name.
    None of its own reaches the client.

    A class, since a generator costs a call ten times as much.
    """

    __slots__ = ("_upstream",)

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None and (refusal := _refusal_for(error, self._upstream)) is not None:
            raise refusal from error


def who_is_asked(call: Call) -> str:
    """What the client may know of who is asked: the host that it named itself, else the provider, not its address."""
    if call.arrival.origin is not None or call.target is None:
        return call.host
    return call.target.provider


def _refusal_for(error: BaseException, name: str) -> Refusal | None:
    """None for what is a refusal, or not the upstream's fault."""
    upstream = f"The upstream {name}"
    match error:
        case Refusal():
            return None
        case aiohttp.ConnectionTimeoutError():
            return UpstreamTimeout(f"{upstream} did not accept the connection in time.", code="connect_timeout")
        case TimeoutError():
            return UpstreamTimeout(f"{upstream} did not begin to reply in time.", code="first_part_timeout")
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return _final(f"The certificate of the upstream {name} could not be verified.", "upstream_unverified")
        case aiohttp.ClientHttpProxyError():
            return _proxy_refused(error.status)
        case aiohttp.ClientConnectorError() | aiohttp.ClientProxyConnectionError():
            return UpstreamFailed(f"{upstream} could not be reached.", code="upstream_unreachable")
        case aiohttp.ClientError() | OSError():
            return UpstreamFailed(f"{upstream} broke off before its first part.", code="upstream_cut")
        case ValueError():
            return Invalid("The call's path or headers cannot be sent on.", code="invalid_request")
    return None


def _proxy_refused(status: int) -> UpstreamFailed:
    if status != 407:
        return UpstreamFailed("The upstream proxy refused the connection.", code="upstream_proxy_refused")
    return _final("The upstream proxy does not accept the gateway's credentials.", "upstream_proxy_refused")


def _final(message: str, code: str) -> UpstreamFailed:
    """A failure that will be no better the next time."""
    refusal = UpstreamFailed(message, code=code)
    refusal.retryable = False
    return refusal
