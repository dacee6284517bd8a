"""py-spy on the busiest process of a subject under full load; writes a flame graph under /tmp."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from bench.processes import busiest
from bench.subjects import SUBJECTS
from bench.world import Running, World, world

SUFFIX = {"flamegraph": "svg", "speedscope": "json", "raw": "txt"}


def record(here: World, running: Running, seconds: int, form: str, output: Path, native: bool) -> None:
    """Load the subject for as long as py-spy records. Raises SystemExit when py-spy cannot."""
    if running.process is None:
        raise SystemExit("bench: there is nothing to profile without a proxy")
    here.saturate(running, 2)
    spy = [str(Path(sys.executable).with_name("py-spy")), "record", "--pid", str(busiest(running.process.pid))]
    spy += ["--duration", str(seconds), "--rate", "200", "--format", form, "--output", str(output)]
    recording = subprocess.Popen(["taskset", "-c", here.cores.load, *spy, *["--native"] * native])
    result = here.saturate(running, seconds + 2)
    if recording.wait(30):
        raise SystemExit("bench: py-spy failed; it needs the right to trace (root, or ptrace_scope 0)")
    print(f"{result['calls_per_s']:.0f} calls/s while recorded, {result['busy']:.2f} cores busy: {output}")


def main() -> None:
    named = {subject.name: subject for subject in SUBJECTS if subject.command}
    parser = argparse.ArgumentParser(prog="bench/profile", description=__doc__)
    parser.add_argument("--subject", choices=list(named), default="shin")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--format", choices=list(SUFFIX), default="flamegraph")
    parser.add_argument("--native", action="store_true", help="C frames too")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    output = given.output or Path(f"/tmp/shin-profile-{given.subject}.{SUFFIX[given.format]}")
    with world() as here, here.serving(named[given.subject]) as running:
        record(here, running, given.seconds, given.format, output, given.native)


if __name__ == "__main__":
    main()
