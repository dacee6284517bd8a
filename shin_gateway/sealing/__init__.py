"""The master key, and what is derived from it: keys that seal what is kept, and keys that sign.

Conversations, kept credentials and tokens stand on one master key. Each purpose has keys of its own (HKDF, RFC 5869),
so that nothing sealed for one can be opened, or signed, for another.
"""

from shin_gateway.sealing.master import MASTER_KEY, OLD_KEYS, SHORTEST, Master, Unusable, master_key
from shin_gateway.sealing.sealer import Sealer


def signing_key(master: Master) -> bytes:
    """32 bytes to sign short-lived tokens with; `master.all` are those whose signatures are still good."""
    return master.derived("tokens signing", 32)


__all__ = ["MASTER_KEY", "OLD_KEYS", "SHORTEST", "Master", "Sealer", "Unusable", "master_key", "signing_key"]
