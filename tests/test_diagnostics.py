"""The bounded file of what went wrong."""

from __future__ import annotations

import datetime as dt
import json
import multiprocessing
from pathlib import Path

from shin_gateway import diagnostics
from shin_gateway.diagnostics import Diagnostics


def test_what_is_noted_is_found(tmp_path):
    Diagnostics(tmp_path).note("untrusted_ca", host="api.openai.com", client="codex", detail="unknown ca")
    (event,) = Diagnostics(tmp_path).recent()
    assert (event.event, event.host, event.client, event.detail) == (
        "untrusted_ca",
        "api.openai.com",
        "codex",
        "unknown ca",
    )
    assert dt.datetime.now(dt.UTC) - event.at < dt.timedelta(minutes=1)
    assert diagnostics.Diagnostics(tmp_path).recent(dt.timedelta(0)) == []


def test_a_storm_is_noted_once(tmp_path, monkeypatch):
    notes = Diagnostics(tmp_path)
    for _ in range(100):
        notes.note("untrusted_ca", host="a.com", client="x")
        notes.note("untrusted_ca", host="b.com", client="x")
    assert len(notes.recent()) == 2
    monkeypatch.setattr(diagnostics, "INTERVAL", 0.0)
    notes.note("untrusted_ca", host="a.com", client="x")
    assert len(notes.recent()) == 3


def test_memory_is_bounded(tmp_path):
    notes = Diagnostics(tmp_path)
    for number in range(diagnostics._REMEMBERED + 50):
        notes.note("tunnelled", host=f"{number}.example.com")
    assert len(notes._noted) == diagnostics._REMEMBERED


def test_the_file_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(diagnostics, "LIMIT", 2000)
    notes = Diagnostics(tmp_path)
    for number in range(200):
        notes.note("tunnelled", host=f"{number}.example.com", detail="x" * 1000)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 4000
    assert notes.recent()[-1].host == "199.example.com"


def test_nonsense_is_passed_over(tmp_path):
    lines = ["{", "[]", "null", '{"at": 5}', '{"at": "yesterday"}', "\udc80", json.dumps({"at": "2999-01-01T00:00:00"})]
    (tmp_path / "diagnostics.jsonl").write_text("\n".join(lines), errors="surrogateescape")
    assert [event.event for event in Diagnostics(tmp_path).recent()] == [""]


def test_a_home_that_cannot_be_written_fails_nobody(tmp_path):
    Diagnostics(tmp_path / "nowhere").note("tunnelled", host="a.com")
    assert Diagnostics(tmp_path / "nowhere").recent() == []


def _write(home: Path, worker: int) -> None:
    notes = Diagnostics(home)
    for number in range(300):
        notes.note("tunnelled", host=f"{worker}.{number}.example.com", detail="y" * 200)


def test_workers_do_not_tear_each_others_lines(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write, args=(tmp_path, number)) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(Diagnostics(tmp_path).recent()) == 900
