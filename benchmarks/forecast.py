"""What `limbeck check` forecasts of a run, beside what the run takes: seconds by stage, and memory.

    python benchmarks/forecast.py RECIPE [key=value ...] [--cpu]

Forecast and run are processes of their own, the run with an empty cache. `--cpu` counts seconds of the processor in both instead of those on the clock, which
other work on the machine stretches: with `train.threads=1` they are those of a machine that does nothing else. Stages that build another within
them are counted with it; `no stage` is what the run does beside its stages (reading data, resampling, the measurement of speed), and stands beside
the forecast's `data` and `latency`. A training may end early (train.patience), and then takes less than was forecast. `limbeck run` takes the same keys.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

BESIDE = ("data", "latency")


def cpu_seconds() -> float:
    """Seconds of the processor that this process and the children it has waited for took."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def child(part: str, recipe: str, overrides: list[str], folder: Path, *, cpu: bool) -> None:
    """The forecast, or the run, in this process; what it came to goes into `folder`."""
    from limbeck.pipeline import runs
    from limbeck.pipeline.preflight.check import check
    from limbeck.recipe.reading import read

    # Only now: what waits for other processes has taken the real clock along when it was imported.
    clock = cpu_seconds if cpu else time.perf_counter
    time.perf_counter = time.monotonic = clock
    began = clock()
    settings = read(recipe, overrides)
    told: dict[str, Any] = {}
    if part == "check":
        checked = check(settings)
        if checked.mistakes:
            raise SystemExit("\n".join(checked.mistakes))
        told = checked.to_json()
    else:
        runs.run(settings, folder / "run")
        told["stages"] = json.loads((folder / "run" / "stages.json").read_text())
    told["whole"] = clock() - began
    told["cpu"] = cpu_seconds()
    told["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (folder / f"{part}.json").write_text(json.dumps(told))


def taken(told: dict[str, Any]) -> Counter[str]:
    """Seconds of a run by the forecast's names."""
    seconds: Counter[str] = Counter()
    for record in told["stages"]:
        if not record["reused"]:
            # An arm's seeds are one to a forecast, and so are a teacher's tries.
            name = re.sub(r", seed \d+\)", ")", record["name"])
            name = name if name.startswith("train (") else name.split()[0]
            seconds[name] += record["seconds"]
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--part", choices=("check", "run"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        child(
            arguments.part,
            arguments.recipe,
            arguments.overrides,
            arguments.folder,
            cpu=arguments.cpu,
        )
        return
    with tempfile.TemporaryDirectory() as home:
        told = {}
        for part in ("check", "run"):
            command = [sys.executable, *sys.argv, "--part", part, "--folder", home]
            environment = os.environ | {"LIMBECK_CACHE": f"{home}/cache"}
            subprocess.run(command, check=True, env=environment)
            told[part] = json.loads((Path(home) / f"{part}.json").read_text())
    print(
        f"check: {told['check']['cpu']:.1f} s of the processor, {told['check']['peak_mb']:,.0f} MB"
    )
    show(told["check"], told["run"])


def show(check: dict[str, Any], run: dict[str, Any]) -> None:
    """The table: forecast, run and their ratio, by stage and in all."""
    forecast = {name: cost["seconds"] for name, cost in check["forecast"].items()}
    stages = taken(run)
    whole = sum(forecast.values())
    forecast["no stage"] = sum(forecast.pop(name, 0.0) for name in BESIDE)
    stages["no stage"] = max(0.0, run["whole"] - sum(stages.values()))
    print(f"{'':18} {'forecast':>9} {'run':>9} {'forecast / run':>15}")
    for name in dict.fromkeys([*forecast, *stages]):
        line(name, forecast.get(name, 0.0), stages[name], "s")
    line("whole", whole, run["whole"], "s")
    peak = max(cost["peak_mb"] for cost in check["forecast"].values())
    line("memory", peak, run["peak_mb"], "MB")


def line(name: str, forecast: float, taken: float, unit: str) -> None:
    """One line of the table."""
    ratio = f"{forecast / taken:15.2f}" if taken else f"{'-':>15}"
    print(f"{name:18} {forecast:7,.1f} {unit} {taken:7,.1f} {unit} {ratio}")


if __name__ == "__main__":
    main()
