"""Folders of policies and addons that tests write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from shin_gateway.registry import Registry, _in_folder

Write = Callable[..., Path]

ADDONS = {
    "meter": "stage = Stage.WIRE",
    "log": "stage = Stage.OBSERVE",
    "translate": "stage = Stage.WIRE\n    order = -10",
    "retry": "stage = Stage.ROUTE",
    "cache": "stage = Stage.CACHE",
    "rate_limit": "stage = Stage.ADMIT",
}


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Addons named as ours are, each with a `ttl` and a `words`."""
    folder = tmp_path / "addons"
    folder.mkdir()
    for name, line in ADDONS.items():
        (folder / f"{name}.py").write_text(addon(line))
    return Registry(_in_folder(folder))


def addon(*lines: str) -> str:
    body = "\n".join(f"    {line}" for line in lines)
    return (
        dedent(
            '''\
            from __future__ import annotations

            from shin_gateway.addon import Addon, Settings, Stage
            from shin_gateway.units import Duration


            class OwnSettings(Settings):
                ttl: Duration = 3600.0
                """How long."""
                words: dict[str, str] = {}
                """What for what."""


            class Own(Addon[OwnSettings]):
                """Does one thing."""

            '''
        )
        + body
        + "\n"
    )


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write files below the working directory of the test: `write("policies/a.yaml", text)`."""
    monkeypatch.chdir(tmp_path)

    def put(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
        return path

    return put


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """What comes with the gateway: presets and one host of each kind."""
    folder = tmp_path / "base"
    (folder / "presets").mkdir(parents=True)
    (folder / "presets/observe.yaml").write_text("addons:\n  meter: on\n  log: on\n")
    (folder / "presets/standard.yaml").write_text("extends: observe\naddons:\n  retry: on\n")
    (folder / "openai.yaml").write_text('hosts: [api.openai.com, "*.api.openai.com"]\nextends: observe\n')
    (folder / "gateway.yaml").write_text("hosts: [gateway]\nextends: standard\n")
    return folder
