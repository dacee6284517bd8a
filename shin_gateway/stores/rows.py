"""One row per call: what the log writes, the stream carries and analytics keeps."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from shin_gateway.stores.errors import StoreError


class CallRow(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What is known of a call when it has ended.

    Packed by name, not by position, so that a row of an older or newer version still reads:
    unknown fields are left out, missing ones take their defaults. Money is USD, None where the
    price is unknown; `*_ms` are milliseconds; `input_tokens` includes cached ones and cache writes.
    """

    id: str
    at: datetime
    """When the call arrived, UTC."""
    caller: str = ""
    caller_kind: str = ""
    policy: str = ""
    host: str = ""
    dialect: str = ""
    kind: str = ""
    model: str = ""
    """As asked; what served it is `target`."""
    target: str = ""
    provider: str = ""
    stream: bool = False
    status: int = 0
    end: str = "completed"
    """completed, refused, failed, broken or cancelled."""
    cause: str = ""
    addon: str = ""
    """The addon that refused."""
    usage_source: str = ""
    """provider, counted, or empty where there is no usage."""
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost: Decimal | None = None
    queue_ms: float = 0.0
    connect_ms: float = 0.0
    first_part_ms: float = 0.0
    total_ms: float = 0.0
    overhead_ms: float = 0.0
    attempts: int = 0
    call_bytes: int = 0
    reply_bytes: int = 0
    facts: dict[str, str] = msgspec.field(default_factory=dict)
    call_body: str = ""
    reply_body: str = ""

    def encode(self) -> bytes:
        return _encoder.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> CallRow:
        """Raises `StoreError` for anything but a row."""
        try:
            row = _decoder.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise StoreError(f"not a call row: {error}") from None
        if row.at.tzinfo is None:
            row.at = row.at.replace(tzinfo=UTC)
        return row


_encoder = msgspec.msgpack.Encoder(decimal_format="string")
_decoder = msgspec.msgpack.Decoder(CallRow)
