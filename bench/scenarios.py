"""What is measured. Each scenario runs its subjects in turns, round after round, and gives rows of medians."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench import conversations
from bench.processes import rss
from bench.subjects import BASELINE, Subject
from bench.world import Running, World

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often. Seconds are of one measurement."""

    rounds: int
    seconds: float
    streams: int = 100
    rate: float = 50
    memory: tuple[int, ...] = (20_000, 200_000)


def _median(results: Sequence[Mapping[str, Any]]) -> Row:
    """The median of each number, also of those one level down."""
    merged: Row = {}
    for key, value in results[0].items():
        values = [result[key] for result in results]
        merged[key] = _median(values) if isinstance(value, dict) else statistics.median(values)
    return merged


def _rows(gathered: Mapping[str, list[Row]]) -> list[Row]:
    return [{"subject": name, "rounds": len(results), **_median(results)} for name, results in gathered.items()]


def calls(world: World, subjects: Sequence[Subject], plan: Plan) -> list[Row]:
    """Calls a second at saturation with 32 connections, and latency at half of each subject's highest rate."""
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(world.serving(subject)) for subject in subjects if subject.command]
        for one in running:
            world.saturate(one, 1)
        full: dict[str, list[Row]] = {one.subject.name: [] for one in running}
        for _ in range(plan.rounds):
            for one in running:
                full[one.subject.name].append(world.saturate(one, plan.seconds))
        rows = _rows(full)
        _add_latency(world, running, rows, plan)
    return rows


def _add_latency(world: World, running: Sequence[Running], rows: Sequence[Row], plan: Plan) -> None:
    """Each proxy at half of its highest rate, and in the same round the baseline at that same rate."""
    baseline = next((one for one in running if one.subject.name == BASELINE), None)
    pairs = list(zip(running, rows, strict=True))
    paced: dict[str, list[Row]] = {one.subject.name: [] for one, _ in pairs}
    for _ in range(plan.rounds):
        for one, row in pairs:
            result = world.pace(one, row["calls_per_s"] / 2, plan.seconds)
            if baseline and baseline is not one:
                result["baseline"] = world.pace(baseline, row["calls_per_s"] / 2, plan.seconds)["latency"]
            paced[one.subject.name].append(result)
    for one, row in pairs:
        row["paced"] = _median(paced[one.subject.name])


def streams(world: World, subjects: Sequence[Subject], plan: Plan) -> list[Row]:
    """Concurrent paced streams: how late the first part and every other part is, against going direct."""
    world.start_stream_upstream(plan.rate, int(plan.rate))
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(world.serving(s, streaming=True)) for s in subjects if s.streams]
        gathered: dict[str, list[Row]] = {one.subject.name: [] for one in running}
        for _ in range(plan.rounds):
            for one in running:
                gathered[one.subject.name].append(world.stream(one, plan.streams, plan.seconds))
    return _rows(gathered)


def workers(world: World, subjects: Sequence[Subject], plan: Plan) -> list[Row]:
    """One worker against two, 64 connections."""
    gathered: dict[str, list[Row]] = {}
    for subject in (subject for subject in subjects if subject.workers):
        for _ in range(plan.rounds):
            for count in (1, 2):
                with world.serving(subject, workers=count) as one:
                    world.saturate(one, 1, 64, count)
                    result = world.saturate(one, plan.seconds, 64, count)
                gathered.setdefault(f"{subject.name} x{count}", []).append(result)
    return _rows(gathered)


def memory(world: World, subjects: Sequence[Subject], plan: Plan) -> list[Row]:
    """Resident memory after so many calls, by program of the subject's tree."""
    rows = []
    for subject in (subject for subject in subjects if subject.command):
        with world.serving(subject) as one:
            rows.append({"subject": subject.name, "rounds": 1, "rss": _memory_of(world, one, plan)})
    return rows


def _memory_of(world: World, one: Running, plan: Plan) -> dict[str, dict[str, int]]:
    done, sizes = 0, {}
    for wanted in plan.memory:
        while done < wanted:
            done += world.saturate(one, plan.seconds)["calls"]
        programs = rss(one.process.pid) if one.process else {}
        sizes[str(done)] = {**programs, "all": sum(programs.values())}
    return sizes


def translated(world: World, subjects: Sequence[Subject], plan: Plan) -> list[Row]:
    """The same chat of 5 kB to a model that speaks the client's dialect and to one that does not."""
    scripts = {name: world.script(name, _chat_to(model)) for name, model in TRANSLATED.items()}
    gathered: dict[str, list[Row]] = {name: [] for name in scripts}
    for subject in (subject for subject in subjects if subject.workers):
        with world.serving(subject) as one:
            for script in scripts.values():
                world.saturate(one, 1, script=script)
            for _ in range(plan.rounds):
                for name, script in scripts.items():
                    gathered[name].append(world.saturate(one, plan.seconds, script=script))
    return _rows(gathered)


TRANSLATED = {"untranslated": "gpt-4o", "translated": "claude-sonnet-4-5"}
"""Models that an OpenAI client asks for."""


def _chat_to(model: str) -> bytes:
    return conversations.call(conversations.CHAT, 5_000).replace(b'"gpt-4o"', f'"{model}"'.encode(), 1)


def translation(world: World, subjects: Sequence[Subject], plan: Plan) -> list[Row]:
    """What a translation costs in itself, each direction, in one process."""
    from bench import translation as inner  # the gateway's own code, which the other scenarios do not load

    return inner.rows(plan.seconds / 10)


Scenario = Callable[[World, Sequence[Subject], Plan], list[Row]]
SCENARIOS: Mapping[str, Scenario] = {
    "calls": calls,
    "streams": streams,
    "translated": translated,
    "translation": translation,
    "workers": workers,
    "memory": memory,
}
