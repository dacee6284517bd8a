"""What the store holds says nothing, and only who sealed it opens it."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shin_gateway.conversations.sealing import MASTER_KEY, Master, Unusable, master_key
from tests.conversations.conftest import MASTER

ANN, BOB = MASTER.sealer("user ann"), MASTER.sealer("user bob")


@given(st.binary(max_size=5000), st.text(max_size=50))
def test_what_is_sealed_is_opened_at_its_place_alone(plain: bytes, place: str) -> None:
    place = place.encode("utf-8", "replace").decode()
    sealed = ANN.seal(place, plain)
    assert ANN.open(place, sealed) == plain
    assert ANN.open(f"{place}x", sealed) is None
    assert BOB.open(place, sealed) is None
    assert Master(b"another").sealer("user ann").open(place, sealed) is None


@pytest.mark.parametrize("plain", [b"short", b"a long text " * 200], ids=["plain", "packed"])
def test_a_changed_byte_is_noticed(plain: bytes) -> None:
    sealed = ANN.seal("x", plain)
    assert b"long text" not in sealed
    for at in range(len(sealed)):
        assert ANN.open("x", sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]) is None
        assert ANN.open("x", sealed[:at]) is None


def test_names_are_digests_that_differ_from_tenant_to_tenant() -> None:
    assert ANN.digest("c:trip-7") == MASTER.sealer("user ann").digest("c:trip-7")
    assert len({ANN.digest("c:trip-7"), BOB.digest("c:trip-7"), ANN.digest("r:trip-7"), ANN.tag, BOB.tag}) == 5
    assert len(ANN.digest("\ud800")) == 32


def test_the_key_of_the_environment(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv(MASTER_KEY, "k" * 32)
    assert master_key(home).fingerprint == master_key(None).fingerprint == Master(b"k" * 32).fingerprint
    assert not list(home.iterdir())
    monkeypatch.setenv(MASTER_KEY, "too short, sesame")
    with pytest.raises(Unusable) as raised:
        master_key(home)
    assert "sesame" not in str(raised.value)


def _fingerprint(home: str, said: multiprocessing.Queue[str]) -> None:
    said.put(master_key(Path(home)).fingerprint)


def test_processes_that_start_together_share_a_key(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.delenv(MASTER_KEY, raising=False)
    context = multiprocessing.get_context("fork")
    said: multiprocessing.Queue[str] = context.Queue()
    workers = [context.Process(target=_fingerprint, args=(str(home), said)) for _ in range(6)]
    for worker in workers:
        worker.start()
    assert len({said.get(timeout=20) for _ in workers}) == 1
    for worker in workers:
        worker.join()
    (file,) = home.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_key_that_cannot_be_relied_on(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.delenv(MASTER_KEY, raising=False)
    master_key(home)
    (file,) = home.iterdir()
    file.chmod(0o644)
    with pytest.raises(Unusable, match="chmod 600"):
        master_key(home)
    file.chmod(0o600)
    file.write_bytes(b"half a key")
    with pytest.raises(Unusable, match="not whole"):
        master_key(home)
    with pytest.raises(Unusable):
        master_key(home / "nowhere")


def test_without_a_home_it_holds_for_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MASTER_KEY, raising=False)
    assert master_key(None).fingerprint == master_key(None).fingerprint
    assert os.environ.get(MASTER_KEY) is None
