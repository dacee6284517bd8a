"""Secrets in files are those of now: a rotated file is read with the next call, however it was put there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from shin_gateway.secret import KeyRef, SecretMissing, SecretRef


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text("first-key\n")
    return path


def aged(path: Path, by: float = 3600) -> None:
    """As if it had been written long ago."""
    then = path.stat().st_mtime - by
    os.utime(path, (then, then))


def test_a_file_that_is_replaced(key: Path) -> None:
    secret = SecretRef(f"file:{key}")
    assert secret.read() == "first-key"
    new = key.with_suffix(".new")
    new.write_text("other-key\n")
    new.replace(key)
    assert secret.read() == "other-key"


def test_a_file_of_the_same_length_and_time(key: Path) -> None:
    aged(key)
    secret, stat = SecretRef(f"file:{key}"), key.stat()
    assert secret.read() == "first-key"
    copy = key.with_suffix(".new")
    copy.write_text("other-key\n")
    os.utime(copy, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    copy.replace(key)
    assert key.stat().st_mtime_ns == stat.st_mtime_ns
    assert secret.read() == "other-key"


def test_a_file_that_is_written_over_within_one_tick_of_the_clock(key: Path) -> None:
    secret = SecretRef(f"file:{key}")
    for number in range(200):
        key.write_text(f"key-{number:04}")
        assert secret.read() == f"key-{number:04}"


def test_symlinks_as_kubernetes_swaps_them(tmp_path: Path) -> None:
    """A volume of secrets: key → ..data/key, and ..data → a folder; a new folder takes its place by a rename.

    https://kubernetes.io/docs/concepts/configuration/secret/#mounted-secrets-are-updated-automatically
    """
    volume = tmp_path / "volume"
    volume.mkdir()

    def publish(name: str, value: str) -> None:
        (volume / name).mkdir()
        (volume / name / "key").write_text(value)
        os.utime(volume / name / "key", (1_700_000_000, 1_700_000_000))
        (volume / "..data_tmp").symlink_to(name)
        (volume / "..data_tmp").replace(volume / "..data")

    publish("..2026_11_20", "first-key")
    (volume / "key").symlink_to("..data/key")
    secret = SecretRef(f"file:{volume / 'key'}")
    assert secret.read() == "first-key"
    publish("..2026_11_21", "other-key")
    shutil.rmtree(volume / "..2026_11_20")
    assert secret.read() == "other-key"


def test_an_old_file_is_not_read_twice(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []
    really = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *how, **more: opened.append(self) or really(self, *how, **more))
    monkeypatch.setattr("shin_gateway.secret._SETTLED", -1)
    secret = SecretRef(f"file:{key}")
    assert [secret.read() for _ in range(5)] == ["first-key"] * 5
    assert len(opened) == 1


def test_a_file_that_goes_and_comes_back(key: Path) -> None:
    secret = SecretRef(f"file:{key}")
    assert secret.present()
    key.unlink()
    assert not secret.present()
    with pytest.raises(SecretMissing, match="cannot be read"):
        secret.read()
    key.write_text("third-key")
    assert secret.read() == "third-key"


def test_more_than_one_line_is_a_text_and_no_key(key: Path) -> None:
    key.write_text("{\n}\n")
    assert SecretRef(f"file:{key}").read_text() == "{\n}"
    with pytest.raises(SecretMissing, match="one line"):
        SecretRef(f"file:{key}").read()


class Drawer:
    def value(self, name: str) -> str:
        if name != "openai":
            raise SecretMissing(f"kept:{name} is not set")
        return "sk-kept"


def test_a_kept_credential() -> None:
    reference = KeyRef("kept:openai")
    assert (str(reference), reference.kept, KeyRef("env:A").kept) == ("kept:openai", "openai", "")
    with pytest.raises(SecretMissing, match="a gateway that runs"):
        reference.read()
    bound = reference.bound(Drawer())
    assert (bound.read(), bound.present(), str(bound)) == ("sk-kept", True, "kept:openai")
    assert bound == reference
    assert not KeyRef("kept:other").bound(Drawer()).present()
    assert "sk-kept" not in repr(bound)


@pytest.mark.parametrize("text", ["kept:", "kept:Upper", "kept:a b", "kept:../x", f"kept:{'a' * 65}", "sk-secret"])
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(ValueError) as raised:
        KeyRef(text)
    assert "sk-secret" not in str(raised.value)
    with pytest.raises(ValueError):
        SecretRef("kept:openai")
