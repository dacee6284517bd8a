"""How we log in as an OAuth client."""

from __future__ import annotations

import base64
from urllib.parse import quote_plus


def basic(client_id: str, secret: str) -> str:
    """The header `Authorization`. Both are form-encoded before they are joined (RFC 6749 §2.3.1)."""
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"
