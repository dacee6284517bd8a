"""Tables for people, JSON lines for the record."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.subjects import BASELINE, SUBJECTS

Row = dict[str, Any]
TITLES = {subject.name: subject.title for subject in SUBJECTS}
LIBRARIES = ("mitmproxy", "aiohttp", "redis", "duckdb", "orjson", "msgspec")


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Columns padded, the first to the left."""
    widths = [max(len(line[i]) for line in (head, *lines)) for i in range(len(head))]
    rows = [[cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))]
            for line in (head, ["-" * w for w in widths], *lines)]  # fmt: skip
    return "\n".join("  ".join(row) for row in rows)


def _by_name(rows: Sequence[Row]) -> dict[str, Row]:
    return {row["subject"]: row for row in rows}


def _ratio(value: float, other: Row | None, key: str) -> str:
    return f"{value / other[key]:.2f}" if other and other.get(key) else "-"


def calls(rows: Sequence[Row]) -> str:
    head = [
        *("subject", "calls/s", "/stock", "/bare", "calls/cpu s", "busy", "load", "failed"),
        *("rate/2", "p50 ms", "p99 ms", "added p50", "added p99"),
    ]
    named = _by_name(rows)
    lines = []
    for row in rows:
        rate, paced = row["calls_per_s"], row.get("paced")
        lines.append([
            TITLES[row["subject"]], f"{rate:.0f}",
            _ratio(rate, named.get("stock"), "calls_per_s"), _ratio(rate, named.get(BASELINE), "calls_per_s"),
            f"{row['calls_per_cpu_s']:.0f}" if row["busy"] else "-",
            f"{row['busy']:.2f}", f"{row['load']:.2f}", f"{row['failed']:.0f}", *_latency(paced),
        ])  # fmt: skip
    note = "busy, load: cores used by the subject, and by wrk and nginx. Added: over the bare engine at the same rate."
    return f"{table(head, lines)}\n{note}"


def _latency(paced: Row | None) -> list[str]:
    if not paced:
        return ["-"] * 5
    own, other = paced["latency"], paced.get("baseline")
    added = [f"{own[key] - other[key]:+.2f}" if other else "-" for key in ("p50", "p99")]
    return [f"{paced['rate']:.0f}", f"{own['p50']:.2f}", f"{own['p99']:.2f}", *added]


def streams(rows: Sequence[Row]) -> str:
    direct = _by_name(rows).get("direct")
    places = [(kind, key) for kind in ("first", "part") for key in ("p50", "p99")]
    names = [f"{kind} {key}" for kind, key in places]
    head = ["subject", "streams", "broken", "parts/s", "busy", *names, *(f"added {name}" for name in names)]
    lines = []
    for row in rows:
        own = [f"{row[kind][key]:.2f}" for kind, key in places]
        added = [f"{row[kind][key] - direct[kind][key]:+.2f}" if direct else "-" for kind, key in places]
        counts = [f"{row['streams']:.0f}", f"{row['broken']:.0f}", f"{row['parts_per_s']:.0f}", f"{row['busy']:.2f}"]
        lines.append([TITLES[row["subject"]], *counts, *own, *added])
    note = "Milliseconds. Stock mitmdump collects a stream before it passes it on, so it is left out."
    return f"{table(head, lines)}\n{note}"


def workers(rows: Sequence[Row]) -> str:
    head = ("subject", "calls/s", "ratio", "busy", "load", "calls/cpu s", "ratio at equal cpu", "failed")
    lines = []
    for row in rows:
        one = _by_name(rows).get(row["subject"].partition(" ")[0] + " x1")
        count = int(row["subject"].rpartition("x")[2])
        equal = count * row["calls_per_cpu_s"] / one["calls_per_cpu_s"] if one and one["calls_per_cpu_s"] else 0
        numbers = [f"{row['busy']:.2f}", f"{row['load']:.2f}", f"{row['calls_per_cpu_s']:.0f}", f"{equal:.2f}"]
        ratio = _ratio(row["calls_per_s"], one, "calls_per_s")
        lines.append([row["subject"], f"{row['calls_per_s']:.0f}", ratio, *numbers, f"{row['failed']:.0f}"])
    note = (
        "With two cores, wrk and nginx take their share (load) from the second worker; at equal cpu that is taken out."
    )
    return f"{table(head, lines)}\n{note}"


def memory(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        first: Mapping[str, int] | None = None
        for count, sizes in row["rss"].items():
            first = first or sizes
            for program, size in sizes.items():
                ratio = f"{size / first[program]:.2f}" if first.get(program) else "-"
                lines.append([TITLES[row["subject"]], count, program, f"{size / 2**20:.1f}", ratio])
    return table(("subject", "calls", "program", "MiB", "ratio to first"), lines)


def translated(rows: Sequence[Row]) -> str:
    first = rows[0]
    head = ("call", "calls/s", "ratio", "busy", "load", "calls/cpu s", "cpu ms a call", "added ms", "failed")
    lines = []
    for row in rows:
        own, other = (1e3 / one["calls_per_cpu_s"] if one["calls_per_cpu_s"] else 0.0 for one in (row, first))
        numbers = [f"{row['busy']:.2f}", f"{row['load']:.2f}", f"{row['calls_per_cpu_s']:.0f}"]
        ratio = _ratio(row["calls_per_s"], first, "calls_per_s")
        times = [f"{own:.2f}", f"{own - other:+.2f}", f"{row['failed']:.0f}"]
        lines.append([row["subject"], f"{row['calls_per_s']:.0f}", ratio, *numbers, *times])
    return f"{table(head, lines)}\nAn OpenAI client; translated: to Anthropic and back. All of Shin's processes count."


def translation(rows: Sequence[Row]) -> str:
    head = ("client", "target", "call µs", "back µs", "both ms", "part µs", "untranslated µs", "1 MB ms")
    lines = [
        [
            row["client"], row["target"], f"{row['call'] * 1e6:.0f}", f"{row['back'] * 1e6:.0f}",
            f"{(row['call'] + row['back']) * 1e3:.2f}", f"{row['part'] * 1e6:.1f}",
            f"{row['untranslated'] * 1e6:.1f}", f"{row['large'] * 1e3:.1f}",
        ]
        for row in rows
    ]  # fmt: skip
    note = "In one process, without a network. Call: 5 kB. Both: call and whole reply. Part: of a stream."
    return f"{table(head, lines)}\n{note}"


TABLES: Mapping[str, Callable[[Sequence[Row]], str]] = {
    "calls": calls,
    "streams": streams,
    "translated": translated,
    "translation": translation,
    "workers": workers,
    "memory": memory,
}


def setting() -> Row:
    """What the numbers stand on: date, machine, versions. No names of hosts or folders."""
    model = [line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")]
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES if _has(name)}
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": model[0] if model else platform.machine(),
        "cores": len(model),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "nginx": _first_line(["nginx", "-v"]).rpartition("/")[2],
        "versions": versions,
    }


def _cpuinfo() -> list[str]:
    return Path("/proc/cpuinfo").read_text().splitlines()


def _has(name: str) -> bool:
    return any(importlib.metadata.distributions(name=name))


def _first_line(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).partition("\n")[0].strip()


def append(file: Path, scenario: str, plan: Row, rows: Sequence[Row]) -> None:
    with file.open("a") as out:
        out.write(json.dumps({**setting(), "scenario": scenario, "plan": plan, "rows": rows}) + "\n")
