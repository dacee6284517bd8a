"""Finding addons."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import pytest

from shin_gateway import registry as module
from shin_gateway.addon import Addon, Stage
from shin_gateway.registry import Registry, RegistryError, bundled
from tests.policy.conftest import addon

GUARD = addon("stage = Stage.GUARD")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of the one that comes with the gateway; no packages."""
    ours = tmp_path / "ours"
    ours.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "bundled", lambda _: ours)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [])
    return ours


def test_an_addon_is_its_file(folder: Path) -> None:
    (folder / "mask.py").write_text(GUARD)
    registry = Registry.load()
    cls = registry.get("mask")
    assert cls is not None
    assert (cls.name, cls.stage, registry.source("mask")) == ("mask", Stage.GUARD, "ours/mask.py")
    assert "ttl" in cls.settings_type().model_fields
    assert list(registry) == ["mask"]
    assert "mask" in registry
    assert len(registry) == 1


def test_what_is_no_addon_is_left_alone(folder: Path) -> None:
    for name in ("gateway.py", "_helpers.py", "__init__.py", "README.md"):
        (folder / name).write_text("raise SystemExit")
    assert list(Registry.load()) == []


def test_folders_and_packages_add_to_ours(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a.py").write_text(GUARD)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "b.py").write_text(GUARD)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "their_package.py").write_text(GUARD)
    entry = EntryPoint("c", "their_package:Own", module.ENTRY_POINTS)
    monkeypatch.setattr(
        "importlib.metadata.entry_points", lambda group: [entry] if group == module.ENTRY_POINTS else []
    )
    registry = Registry.load([theirs])
    assert list(registry) == ["a", "b", "c"]
    assert registry.source("c") == "package their_package:Own"
    assert registry.suggest("cc") == 'did you mean "c"?'


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "import nowhere_at_all",
            "ours/x.py: cannot be imported: ModuleNotFoundError: No module named 'nowhere_at_all'",
        ),
        ("1 +", "ours/x.py: cannot be imported: SyntaxError: invalid syntax (x.py, line 1)"),
        ("a = 1", "ours/x.py: should define exactly one Addon, not 0 (none)"),
        (GUARD + "\n\nclass Other(Own):\n    pass\n", "ours/x.py: should define exactly one Addon, not 2 (Own, Other)"),
        (addon("pass"), "ours/x.py: Own has no stage; write `stage = Stage.…`"),
        (addon("stage = 3"), "ours/x.py: Own has no stage; write `stage = Stage.…`"),
        (GUARD.replace("ttl:", "mode:"), "ours/x.py: a setting cannot be named `mode`, which every addon has already"),
    ],
)
def test_an_addon_that_cannot_be_used_is_never_skipped(text: str, error: str, folder: Path) -> None:
    (folder / "x.py").write_text(text)
    with pytest.raises(RegistryError) as caught:
        Registry.load()
    assert str(caught.value) == error


def test_a_base_class_of_the_same_file_is_no_addon(folder: Path) -> None:
    (folder / "x.py").write_text(GUARD.replace("class Own(", "class _Base(") + "\n\nclass Own(_Base):\n    pass\n")
    assert Registry.load().get("x").__name__ == "Own"


def test_one_name_twice(folder: Path, tmp_path: Path) -> None:
    (folder / "x.py").write_text(GUARD)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/x.py").write_text(GUARD)
    with pytest.raises(RegistryError, match='two addons are named "x": ours/x.py and theirs/x.py'):
        Registry.load([tmp_path / "theirs"])


def test_a_folder_that_is_not_there(folder: Path) -> None:
    with pytest.raises(RegistryError, match="no such folder of addons: nowhere"):
        Registry.load([Path("nowhere")])


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("nowhere_at_all:X", 'package acme: addon "x" cannot be imported: ModuleNotFoundError'),
        ("json:loads", 'package acme: "json:loads" is not an Addon'),
    ],
)
def test_a_package_that_cannot_be_used(value: str, error: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("x", value, module.ENTRY_POINTS)._for(SimpleNamespace(name="acme"))
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [entry])
    with pytest.raises(RegistryError, match=error):
        Registry.load()


def test_ours_load() -> None:
    registry = Registry.load()
    for name in registry:
        cls = registry.get(name)
        assert cls is not None
        assert issubclass(cls, Addon)
        assert cls.settings_type()() is not None, f"{name} has a setting without a default"


def test_what_comes_with_the_gateway_is_found() -> None:
    assert (bundled("addons")).is_dir()
    assert (bundled("policies") / "presets" / "observe.yaml").is_file()
