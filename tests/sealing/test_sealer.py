"""What the store holds says nothing, and only who has the key opens it, also after the key has changed."""

from __future__ import annotations

import os

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from shin_gateway.conversations.sealing import sealers
from shin_gateway.sealing import Master, signing_key

SECRET, NEWER = b"a master key of thirty-two bytes and more", b"another master key, newer than the first"
MASTER = Master(SECRET)
ROTATED = Master(NEWER, [SECRET])
ANN, BOB = MASTER.sealer("conversations tenant user ann"), MASTER.sealer("conversations tenant user bob")


@given(st.binary(max_size=5000), st.text(max_size=50))
def test_what_is_sealed_is_opened_at_its_place_alone(plain: bytes, place: str) -> None:
    place = place.encode("utf-8", "replace").decode()
    sealed = ANN.seal(place, plain)
    assert ANN.open(place, sealed) == plain
    assert ANN.open(f"{place}x", sealed) is None
    assert BOB.open(place, sealed) is None
    assert Master(b"another").sealer("conversations tenant user ann").open(place, sealed) is None


@pytest.mark.parametrize("plain", [b"short", b"a long text " * 200], ids=["plain", "packed"])
def test_a_changed_byte_is_noticed(plain: bytes) -> None:
    sealed = ANN.seal("x", plain)
    assert b"long text" not in sealed
    for at in range(len(sealed)):
        assert ANN.open("x", sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]) is None
        assert ANN.open("x", sealed[:at]) is None


@given(st.binary(max_size=200))
def test_nonsense_opens_to_nothing(sealed: bytes) -> None:
    assert ANN.open("x", sealed) is None


def test_names_are_digests_that_differ_from_purpose_to_purpose() -> None:
    again = MASTER.sealer("conversations tenant user ann")
    assert (ANN.digest("c:trip-7"), ANN.tag) == (again.digest("c:trip-7"), again.tag)
    assert len({ANN.digest("c:trip-7"), BOB.digest("c:trip-7"), ANN.digest("r:trip-7"), ANN.tag, BOB.tag}) == 5
    assert len(ANN.digest("\ud800")) == 32


def test_purposes_have_keys_of_their_own() -> None:
    purposes = ["credentials", "tokens signing", "conversations tenant user ann", "master key id"]
    assert len({MASTER.derived(one, 32) for one in purposes}) == len(purposes)
    assert signing_key(MASTER) == MASTER.derived("tokens signing", 32) != signing_key(ROTATED)
    assert [signing_key(one) for one in ROTATED.all] == [signing_key(ROTATED), signing_key(MASTER)]


# A change of the master key


def test_what_the_key_before_has_sealed_is_opened_and_what_is_new_is_sealed_with_the_new_one() -> None:
    before, now = MASTER.sealer("credentials"), ROTATED.sealer("credentials")
    old, new = before.seal("x", b"said before"), now.seal("x", b"said now")
    assert (now.open("x", old), now.open("x", new)) == (b"said before", b"said now")
    assert (now.is_current(old), now.is_current(new)) == (False, True)
    assert before.open("x", new) is None
    assert Master(NEWER).sealer("credentials").open("x", old) is None


def test_the_right_key_is_known_without_trying(monkeypatch: pytest.MonkeyPatch) -> None:
    many = Master(NEWER, [os.urandom(32) for _ in range(5)] + [SECRET])
    sealed, sealer, tried = MASTER.sealer("credentials").seal("x", b"plain"), many.sealer("credentials"), []
    monkeypatch.setattr(sealer, "_aeads", {id: _Counting(one, tried) for id, one in sealer._aeads.items()})
    assert sealer.open("x", sealed) == b"plain"
    assert len(tried) == 1
    assert sealer.open("x", sealed[:1] + b"strange." + sealed[9:]) is None
    assert len(tried) == 1


class _Counting:
    def __init__(self, aead: AESGCM, tried: list[int]) -> None:
        self._aead, self._tried = aead, tried

    def decrypt(self, *said: bytes) -> bytes:
        self._tried.append(1)
        return self._aead.decrypt(*said)


@pytest.mark.parametrize("master", [MASTER, ROTATED], ids=["the same key", "an older key"])
def test_what_was_sealed_before_keys_had_ids_is_still_read(master: Master) -> None:
    """As the first version wrote it: a byte, the nonce, the rest; keys by HKDF with `shin conversations tenant …`."""
    info = b"shin conversations tenant user ann"
    keys = HKDF(algorithm=SHA256(), length=96, salt=None, info=info).derive(SECRET)
    nonce = os.urandom(12)
    sealed = b"\x01" + nonce + AESGCM(keys[:32]).encrypt(nonce, b"long ago", b"\x01" + b"c:trip")
    eras = sealers(master, "user ann")
    assert all(era.open("c:trip", sealed) == b"long ago" for era in eras)
    assert not eras[0].is_current(sealed)
    assert eras[-1].tag == keys[64:80].hex()
    assert eras[-1].digest("c:trip") == ANN.digest("c:trip")
