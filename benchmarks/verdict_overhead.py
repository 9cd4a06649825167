"""What a finished run took beyond the steps of its own trainings.

    python benchmarks/verdict_overhead.py RUN [RUN ...]

Trainings are the stages `teacher`, `train` and `assistant` of the run folder's stages.json; whatever else it took stands in a line of its own: the other stages,
and what is no stage (reading the data, resampling, the measurement of speed), which is the time from recipe.yaml, written when a run begins, to
report.json, written at its end, less the stages. The aim is a whole of at most 1.15 times the trainings, for seven arms with three seeds.

A run that found stages in the cache took no time for them: run it with an empty cache (`LIMBECK_CACHE=FOLDER limbeck run RECIPE --out RUN`).
"""

import argparse
from collections import Counter
from pathlib import Path

from limbeck.core.files import read_json

TRAININGS = ("teacher", "train", "assistant")
AIM = 1.15


def overhead(run: Path) -> tuple[float, dict[str, float], int]:
    """(seconds of the trainings, seconds of everything else by name, stages that were found in the cache)."""
    records = read_json(run / "stages.json")
    seconds: Counter[str] = Counter()
    for record in records:
        if not record["reused"]:
            seconds[record["name"]] += record["seconds"]
    wall = (run / "report.json").stat().st_mtime - (run / "recipe.yaml").stat().st_mtime
    # A stage that builds another within it (the teacher, when a student is cut from it) is counted by both.
    beside = max(0.0, wall - sum(seconds.values()))
    # A training's record has its arm and seed: `train (kd, seed 0)`.
    trainings = [name for name in seconds if name.split()[0] in TRAININGS]
    trained = sum(seconds.pop(name) for name in trainings)
    others = dict(seconds.most_common()) | {"no stage": beside}
    return (
        trained,
        others,
        len(
            {record["entry"] for record in records if record["reused"]}
            - {record["entry"] for record in records if not record["reused"]}
        ),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    for run in parser.parse_args().runs:
        trained, others, num_found = overhead(run)
        whole = trained + sum(others.values())
        print(f"{run}: {whole:,.1f} s, {trained:,.1f} s of them trainings")
        if num_found:
            print(
                f"  {num_found} stages came from the cache: what follows is of a part. Use an empty cache"
            )
        for name, seconds in others.items():
            print(
                f"  {name:12} {seconds:9.1f} s  {seconds / trained if trained else float('nan'):6.1%} of the trainings"
            )
        if trained:
            print(f"  {whole / trained:.2f} times the trainings; the aim is {AIM}")


if __name__ == "__main__":
    main()
