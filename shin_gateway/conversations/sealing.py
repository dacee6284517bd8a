"""What is kept of conversations is sealed, for each tenant with keys of its own.

Names that clients give, and ids of replies, are kept as keyed digests. They depend on the master key too: after a
change of it, what was begun before is found under the names of the key before.
"""

from __future__ import annotations

from shin_gateway.sealing import Master, Sealer


def sealers(master: Master, tenant: str) -> list[Sealer]:
    """The one for what is new, and those that find what was begun under older keys."""
    return master.sealers(f"conversations tenant {tenant}")
