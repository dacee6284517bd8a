"""Where the master key comes from, and what is refused for one."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from shin_gateway.sealing import MASTER_KEY, OLD_KEYS, Master, Unusable, master_key

FIRST, SECOND, THIRD = "1" * 32, "2" * 40, "3" * 64


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MASTER_KEY, raising=False)
    monkeypatch.delenv(OLD_KEYS, raising=False)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def fingerprints(master: Master) -> list[str]:
    return [one.fingerprint for one in master.all]


def expected(*keys: str | bytes) -> list[str]:
    return [Master(one.encode() if isinstance(one, str) else one).fingerprint for one in keys]


def test_the_key_of_the_environment(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv(MASTER_KEY, FIRST)
    assert fingerprints(master_key(home)) == fingerprints(master_key(None)) == expected(FIRST)
    assert not list(home.iterdir())


def test_a_key_in_a_file_that_the_environment_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{FIRST}\n")
    (tmp_path / "old").write_text(f"\n{SECOND}\n  {THIRD}\n")
    monkeypatch.setenv(MASTER_KEY, f"file:{tmp_path / 'key'}")
    monkeypatch.setenv(OLD_KEYS, f"file:{tmp_path / 'old'}")
    assert fingerprints(master_key(None)) == expected(FIRST, SECOND, THIRD)
    (tmp_path / "key").write_text(f"{FIRST}\n{SECOND}\n")
    with pytest.raises(Unusable, match="should be one key"):
        master_key(None)
    monkeypatch.setenv(MASTER_KEY, "file:/nowhere/key")
    with pytest.raises(Unusable, match="cannot be read"):
        master_key(None)


def test_old_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MASTER_KEY, FIRST)
    monkeypatch.setenv(OLD_KEYS, f" {SECOND}, {THIRD} ,,{SECOND},{FIRST}")
    assert fingerprints(master_key(None)) == expected(FIRST, SECOND, THIRD)
    monkeypatch.setenv(OLD_KEYS, ",".join(f"{one:032}" for one in range(9)))
    with pytest.raises(Unusable, match="more than 8 keys"):
        master_key(None)


@pytest.mark.parametrize("name", [MASTER_KEY, OLD_KEYS])
def test_a_short_key_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch, home: Path, name: str) -> None:
    monkeypatch.setenv(MASTER_KEY, FIRST)
    monkeypatch.setenv(name, "too short, sesame")
    with pytest.raises(Unusable) as raised:
        master_key(home)
    assert name in str(raised.value)
    assert "sesame" not in str(raised.value)


def test_the_file_under_home_was_the_key_before_that_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    first = master_key(home).fingerprint
    monkeypatch.setenv(MASTER_KEY, FIRST)
    assert fingerprints(master_key(home)) == [*expected(FIRST), first]
    (home / "master.key").chmod(0o644)
    assert fingerprints(master_key(home)) == expected(FIRST)  # not to be relied on, and no longer needed


def test_the_file_of_former_days_goes_on(home: Path) -> None:
    (home / "conversations.key").write_bytes(b"x" * 32)
    (home / "conversations.key").chmod(0o600)
    assert fingerprints(master_key(home)) == expected(b"x" * 32)
    assert not (home / "master.key").exists()


def _fingerprint(home: str, said: multiprocessing.Queue[str]) -> None:
    said.put(master_key(Path(home)).fingerprint)


def test_processes_that_start_together_share_a_key(home: Path) -> None:
    context = multiprocessing.get_context("fork")
    said: multiprocessing.Queue[str] = context.Queue()
    workers = [context.Process(target=_fingerprint, args=(str(home), said)) for _ in range(6)]
    for worker in workers:
        worker.start()
    assert len({said.get(timeout=20) for _ in workers}) == 1
    for worker in workers:
        worker.join()
    (file,) = home.iterdir()
    assert (file.name, file.stat().st_mode & 0o777) == ("master.key", 0o600)


def test_a_file_that_cannot_be_relied_on(home: Path) -> None:
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


def test_without_a_home_it_holds_for_the_process() -> None:
    assert master_key(None).fingerprint == master_key(None).fingerprint
    assert os.environ.get(MASTER_KEY) is None
