"""Calibration and promises of finished runs: does every artifact's ECE after fitting stay within what a perfectly calibrated model has on the same rows, and does the test split bear the promise out?

    python benchmarks/calibration.py RUN [RUN ...]

RUN: a folder with report.json, of a recipe that leaves an artifact whose answers are labels. The exit status is 1 where an ECE is above the 95th percentile of a perfectly calibrated model, or a promise
is broken on test.
"""

import sys
from typing import Any

from limbeck.reports.calibration import sentences
from limbeck.reports.typed import read_report

HEAD = f"{'run':28} {'of':16} {'model':8} {'ECE':>8} {'95 % interval':>18} {'perfect p95':>11} {'NLL':>8}"


def lines(folder: str) -> tuple[list[str], bool]:
    """What is told of a run, and whether it holds."""
    report = read_report(folder)
    found: dict[str, Any] | None = report.get("calibration")
    if not found or not found["models"]["fitted"]:
        return [f"{report.name}: no artifact whose answers are labels"], False
    told = []
    for name, model in found["models"].items():
        low, high = model["ece_ci95"]
        told.append(
            f"{report.name[:28]:28} {found['of']:16} {name:8} {model['ece']:8.4f} "
            f"[{low:.4f}, {high:.4f}] {model['perfect_p95']:11.4f} {model['nll_nats']:8.4f}"
        )
    fitted = found["models"]["fitted"]
    promises = [found[key] for key in ("promise", "sets") if found[key]]
    is_broken = any(each["is_broken"] for each in promises)
    told += [f"  {line}" for line in sentences(found)]
    return told, fitted["ece"] <= fitted["perfect_p95"] and not is_broken


def main(folders: list[str]) -> int:
    """Print the table of all runs."""
    print(HEAD)
    results = [lines(folder) for folder in folders]
    for told, _ in results:
        print("\n".join(told))
    return 0 if all(holds for _, holds in results) else 1


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1:]))
