"""The wheel as a stranger gets it: built from the tree, installed with the locked dependencies and nothing else."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx2
import pytest

from tests.provider import FakeProvider

ROOT = Path(__file__).parents[2]
SOURCES = {"shin_gateway": "shin_gateway", "addons": "shin_gateway/addons", "policies": "shin_gateway/policies"}
UNREACHABLE = re.compile(
    "error sending request|dns error|connection refused|connection reset|timed out|name resolution", re.IGNORECASE
)
IMPORT_ALL = """
import importlib, pathlib, shin_gateway
root = pathlib.Path(shin_gateway.__path__[0])
for file in sorted(root.rglob("*.py")):
    if file.stem != "__main__":
        name = ".".join(file.relative_to(root.parent).with_suffix("").parts).removesuffix(".__init__")
        importlib.import_module(name)
        print(name)
"""

pytestmark = pytest.mark.timeout(300)  # installs packages


def run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in an environment that leads to nothing of ours."""
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "HOME": str(cwd), "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
    )


def output(*command: object, cwd: Path) -> str:
    """Standard output of a command that must succeed."""
    done = run(*command, cwd=cwd)
    assert done.returncode == 0, f"{command} exited with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def uv(*words: object) -> subprocess.CompletedProcess[str]:
    """uv with this process's environment, so that it finds its cache, its mirror and its certificates."""
    return subprocess.run(
        [sys.executable, "-m", "uv", "--quiet", *map(str, words)], capture_output=True, text=True, timeout=280
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, since nothing else that lies in the tree may matter."""
    tree = tmp_path_factory.mktemp("tree with spaces")
    for name in SOURCES:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    output(sys.executable, "-m", "build", "--wheel", "--no-isolation", tree, cwd=tree)
    (built,) = (tree / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def clean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`bin` of an environment with the wheel and what requirements.lock names."""
    home = tmp_path_factory.mktemp("clean")
    python = home / "bin" / "python"
    assert uv("venv", "--python", sys.executable, home).returncode == 0
    locked = uv("pip", "install", "--python", python, "--require-hashes", "-r", ROOT / "requirements.lock")
    if locked.returncode and UNREACHABLE.search(locked.stderr):
        pytest.skip("the package registry cannot be reached")
    assert locked.returncode == 0, locked.stderr
    installed = uv("pip", "install", "--python", python, "--no-deps", "--offline", wheel)
    assert installed.returncode == 0, installed.stderr
    return python.parent


def test_it_holds_the_three_sources_and_nothing_else(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = {
        f"{target}/{file.relative_to(ROOT / source).as_posix()}"
        for source, target in SOURCES.items()
        for file in (ROOT / source).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert names == expected


def test_it_carries_its_licence_and_its_terms(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        text = archive.read(metadata).decode()
        assert metadata.replace("METADATA", "licenses/LICENSE") in archive.namelist()
    assert "License-Expression: Apache-2.0" in text
    assert "Requires-Python: >=3.12" in text


def test_the_lock_satisfies_what_it_asks_for(clean: Path) -> None:
    checked = uv("pip", "check", "--python", clean / "python")
    assert checked.returncode == 0, checked.stderr


def test_every_module_imports_without_the_tree(clean: Path, tmp_path: Path) -> None:
    """So no module needs an undeclared package, and none lives on a path of the tree. With -O, as it runs."""
    imported = output(clean / "python", "-I", "-O", "-c", IMPORT_ALL, cwd=tmp_path).split()
    assert {"shin_gateway.cli", "shin_gateway.addons.gateway"} <= set(imported)
    where = output(clean / "python", "-I", "-c", "import shin_gateway; print(shin_gateway.__path__[0])", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(clean.parent)


def test_the_command_knows_its_version(clean: Path, tmp_path: Path) -> None:
    assert "0.1.0" in output(clean / "shin", "--version", cwd=tmp_path)


def test_the_command_finds_the_policies_it_came_with(clean: Path, tmp_path: Path) -> None:
    output(clean / "shin", "check", cwd=tmp_path)


def test_a_policy_error_is_the_users_to_read(clean: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("hosts: [api.example.com]\naddons:\n  no_such_addon: {}\n")
    done = run(clean / "shin", "check", tmp_path, cwd=tmp_path)
    assert done.returncode != 0
    assert "no_such_addon" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


async def test_it_runs(clean: Path, tmp_path: Path) -> None:
    """A call through the gateway, its row at the admin's API, and an end in order."""
    (tmp_path / "policies").mkdir()
    ready, said = tmp_path / "ready.json", tmp_path / "said"
    ports = [f"--{name}-port=0" for name in ("proxy", "gateway", "admin")]
    async with FakeProvider() as provider:
        config = tmp_path / "shin.yaml"
        config.write_text(f"providers:\n  openai: {{base_url: '{provider.url}/v1', api_key: env:SHIN_TEST_KEY}}\n")
        with said.open("wb") as output:
            shin = await asyncio.create_subprocess_exec(
                *(clean / "shin", "run", *ports, "--config", config, "--home", tmp_path / "home"),
                *("--policies", tmp_path / "policies", "--ready-file", ready),
                cwd=tmp_path,
                env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "LC_ALL": "C.UTF-8", "SHIN_TEST_KEY": "sk-test"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            async with asyncio.timeout(60):
                while not ready.exists() and shin.returncode is None:
                    await asyncio.sleep(0.1)
            assert shin.returncode is None, said.read_text()
            await _call_and_find(json.loads(ready.read_text()))
            shin.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(shin.wait(), 60) == 0
        finally:
            if shin.returncode is None:
                shin.terminate()
                await shin.wait()
    assert "Traceback" not in said.read_text()


async def _call_and_find(running: dict[str, str]) -> None:
    call = {"model": "gpt-4o", "messages": [{"role": "user", "content": "say hello"}]}
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
        reply = await client.post(f"http://{running['gateway']}/v1/chat/completions", json=call)
        assert reply.json()["choices"][0]["message"]["content"] == "Hello from the fake provider."
        assert (await client.get(f"http://{running['admin']}/health/ready")).status_code == 200
        async with asyncio.timeout(20):
            while not (rows := (await client.get(f"http://{running['admin']}/api/v1/calls")).json()["calls"]):
                await asyncio.sleep(0.1)
    assert [(row["id"], row["model"], row["status"]) for row in rows] == [
        (reply.headers["x-shin-call-id"], "gpt-4o", 200)
    ]
