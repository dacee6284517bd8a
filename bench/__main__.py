"""Measure side by side, print tables, append to bench/results.jsonl."""

from __future__ import annotations

import argparse
import shutil
from dataclasses import asdict
from pathlib import Path

from bench import report
from bench.processes import DidNotStart
from bench.scenarios import SCENARIOS, Plan
from bench.subjects import SUBJECTS
from bench.world import world

FULL = Plan(rounds=5, seconds=6)
QUICK = Plan(rounds=3, seconds=1)
USUAL = ("calls", "streams")


def parse() -> argparse.Namespace:
    names = [subject.name for subject in SUBJECTS]
    parser = argparse.ArgumentParser(prog="bench/run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less than a minute, rougher numbers")
    parser.add_argument("--subjects", nargs="+", choices=names, default=names)
    parser.add_argument("--scenarios", nargs="+", choices=list(SCENARIOS), default=None)
    parser.add_argument("--workers", action="store_true", help="also two workers against one")
    parser.add_argument("--memory", action="store_true", help="also memory after 20,000 and 200,000 calls (minutes)")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of one measurement")
    parser.add_argument("--results", type=Path, default=Path(__file__).with_name("results.jsonl"))
    return parser.parse_args()


def main() -> None:
    given = parse()
    for tool in ("nginx", "wrk", "taskset"):
        if not shutil.which(tool):
            raise SystemExit(f"bench: {tool} is missing; on Debian: apt-get install nginx wrk util-linux")
    usual = QUICK if given.quick else FULL
    plan = Plan(rounds=given.rounds or usual.rounds, seconds=given.seconds or usual.seconds)
    wanted = given.scenarios or [*USUAL, *["workers"] * given.workers, *["memory"] * given.memory]
    subjects = [subject for subject in SUBJECTS if subject.name in given.subjects]
    for name in wanted:
        print(f"\n{name}: {(SCENARIOS[name].__doc__ or '').splitlines()[0]}", flush=True)
        try:
            with world() as here:
                rows = SCENARIOS[name](here, subjects, plan)
        except DidNotStart as error:
            raise SystemExit(f"bench: {error}") from None
        print(report.TABLES[name](rows), flush=True)
        report.append(given.results, name, asdict(plan), rows)


if __name__ == "__main__":
    main()
