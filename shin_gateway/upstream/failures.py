"""What goes wrong on the way to an upstream, in our words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp

from shin_gateway.errors import Invalid, Refusal, UpstreamFailed, UpstreamTimeout


@contextmanager
def as_refusals() -> Iterator[None]:
    """What aiohttp raises before the first part, in our words. No message of its own reaches the client."""
    try:
        yield
    except Refusal:
        raise
    except aiohttp.ConnectionTimeoutError as error:
        raise UpstreamTimeout("The upstream did not accept the connection in time.", code="connect_timeout") from error
    except TimeoutError as error:
        raise UpstreamTimeout("The upstream did not begin to reply in time.", code="first_part_timeout") from error
    except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
        message = "The upstream's certificate could not be verified."
        refusal = UpstreamFailed(message, code="upstream_unverified")
        refusal.retryable = False
        raise refusal from error
    except aiohttp.ClientHttpProxyError as error:
        raise _proxy_refused(error.status) from error
    except (aiohttp.ClientConnectorError, aiohttp.ClientProxyConnectionError) as error:
        raise UpstreamFailed("The upstream could not be reached.", code="upstream_unreachable") from error
    except (aiohttp.ClientError, OSError) as error:
        raise UpstreamFailed("The upstream broke off before its first part.", code="upstream_cut") from error
    except (ValueError, UnicodeError) as error:
        raise Invalid("The call's path or headers cannot be sent on.", code="invalid_request") from error


def _proxy_refused(status: int) -> UpstreamFailed:
    if status != 407:
        return UpstreamFailed("The upstream proxy refused the connection.", code="upstream_proxy_refused")
    message = "The upstream proxy does not accept the gateway's credentials."
    refusal = UpstreamFailed(message, code="upstream_proxy_refused")
    refusal.retryable = False  # they will be no better the next time
    return refusal
