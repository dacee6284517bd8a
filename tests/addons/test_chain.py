"""What everybody who writes an addon relies on, tried with addons that are a file each and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.addons.stand import CHAT, Stand, chat
from tests.provider import Answer

HEAD = """
from shin_gateway.addon import Addon, Settings, Stage
from shin_gateway.errors import Blocked
from shin_gateway.texts import Words

class Nothing(Settings):
    pass

class {name}(Addon[Nothing]):
    stage = Stage.{stage}
    observer = {observer}

    async def handle(self, call, forward):
"""
WORK = {
    "pass": "        call.note(way=call.facts.get('way', '') + self.name + ' ')\n        return await forward(call)\n",
    "refuse": "        raise Blocked('No such words here.')\n",
    "fail": "        raise ValueError('secret detail')\n",
    "fail after": "        await forward(call)\n        raise ValueError('secret detail')\n",
    "swap": (
        "        call.rewrite(Words({'Falcon': 'Project'}))\n"
        "        reply = await forward(call)\n"
        "        reply.rewrite(Words({'Project': 'Falcon'}))\n"
        "        return reply\n"
    ),
}
Write = Callable[..., None]


@pytest.fixture
def write(stand: Stand, tmp_path: Path) -> Write:
    folder = tmp_path / "addons"
    folder.mkdir()
    stand._addons.append(folder)

    def write(name: str, work: str, stage: str = "GUARD", observer: bool = False) -> None:
        head = HEAD.format(name=name.capitalize(), stage=stage, observer=observer)
        (folder / f"{name}.py").write_text(head + WORK[work])

    return write


async def test_stages_order_the_chain_and_not_the_policy(stand: Stand, write: Write) -> None:
    stages = {"inner": "WIRE", "cached": "CACHE", "guard": "GUARD", "outer": "IDENTIFY", "shape": "SHAPE"}
    for name, stage in stages.items():
        write(name, "pass", stage)
    await stand.start("\n".join(f"{name}: on" for name in stages))
    asked = await stand.ask(chat())
    assert asked.facts["way"] == "outer shape guard cached inner "


@pytest.mark.parametrize("work", ["fail", "fail after"])
async def test_an_addon_that_fails_ends_the_call(stand: Stand, write: Write, work: str) -> None:
    write("clumsy", work)
    await stand.start("clumsy: on\nlog: on")
    asked = await stand.ask(chat())
    assert asked.status == 500
    assert asked.json()["error"]["code"] == "addon_failed"
    assert b"secret" not in asked.body
    row = await stand.row()
    assert (row.end, row.cause, row.addon, row.status) == ("failed", "addon_failed", "clumsy", 500)
    assert len(stand.provider.seen) == (work == "fail after")


@pytest.mark.parametrize("work", ["fail", "fail after"])
async def test_an_observer_that_fails_does_not(stand: Stand, write: Write, work: str) -> None:
    write("clumsy", work, "OBSERVE", observer=True)
    await stand.start("clumsy: on\nlog: on")
    asked = await stand.ask(chat())
    assert asked.status == 200
    assert len(stand.provider.seen) == 1
    assert (await stand.row()).end == "completed"


async def test_a_refusal_is_the_addons_own(stand: Stand, write: Write) -> None:
    write("strict", "refuse")
    await stand.start("strict: on\nlog: on\nretry: on")
    asked = await stand.ask(chat())
    assert (asked.status, asked.json()["error"]["message"]) == (400, "No such words here.")
    assert asked.reply.headers["x-should-retry"] == "false"
    row = await stand.row()
    assert (row.end, row.cause, row.addon) == ("refused", "blocked", "strict")
    assert not stand.provider.seen


async def test_an_upstreams_failure_is_no_addons(stand: Stand, write: Write) -> None:
    write("wrapped", "pass")
    await stand.start("wrapped: on\nlog: on")
    with stand.provider.refusing():
        asked = await stand.ask(chat())
    assert asked.status == 502
    assert (await stand.row()).addon == ""


async def test_shadow_decides_and_changes_nothing(stand: Stand, write: Write) -> None:
    write("strict", "refuse")
    await stand.start("strict: {mode: shadow}\nlog: on")
    asked = await stand.ask(chat())
    assert asked.status == 200
    assert (await stand.row()).facts["shadow.strict"] == "blocked"


@pytest.mark.parametrize("stream", [False, True])
async def test_what_shadow_rewrites_is_thrown_away(stand: Stand, write: Write, stream: bool) -> None:
    write("swap", "swap")
    body = chat("Tell Falcon about Project.", stream=stream)
    for mode, sent, got in (("shadow", b"Falcon", b"Project"), ("enforce", b"Project", b"Falcon")):
        stand.provider.script(Answer(text="About Project."))
        await stand.start(f"swap: {{mode: {mode}}}")
        asked = await stand.ask(body, CHAT)
        assert sent in stand.provider.seen[-1].body
        assert got in asked.body
        await stand.stop()
