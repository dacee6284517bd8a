"""What one client may hold on to at our ports: `listen: {limits: …}` in shin.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from shin_gateway.units import Duration, Size

Count = Annotated[int, Field(ge=1, strict=True)]
Time = Annotated[Duration, Field(gt=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True)


class BanSettings(_Part):
    """When an address that tries key after key is told to wait."""

    after: Annotated[int, Field(ge=0, strict=True)] = 20
    """Wrong keys within `within`; 0 bans nobody."""
    within: Time = 60.0
    lasts: Time = 300.0
    """How long the address is told to wait."""
    loopback: bool = False
    """Whether this machine's own programs can be banned too."""


class ListenLimits(_Part):
    """Of each worker, and of the admin server."""

    head: Annotated[Size, Field(ge=1024)] = 65_536
    """Bytes of a request's line and headers; more is refused with 431, over HTTP/2 by ending the connection."""
    headers: Count = 200
    """Headers of a request."""
    head_timeout: Time = 10.0
    """From the first byte of a request, or of a TLS handshake, to its last."""
    body_timeout: Time = 60.0
    """Silence in the middle of a request's body."""
    body_rate: Size = 100
    """Bytes a second that the body of a call has to come at on average, once it has taken longer than
    `body_timeout`; 0: any."""
    idle: Time = 180.0
    """Silence of a connection on which nothing is under way: no request, no stream, no tunnel, no WebSocket."""
    connections: Count = 4096
    """Connections of all clients together; one more is closed at once."""
    connections_per_ip: Count = 512
    """Connections of one address (IPv6: /64); this machine's own are not counted."""
    ban: BanSettings = BanSettings()
