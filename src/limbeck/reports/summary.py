"""A report as lines for the terminal."""

from pathlib import Path
from typing import Any

from limbeck.reports import speed


def lines(report: dict[str, Any], out: Path, *, next_steps: bool) -> list[str]:
    """The table of arms, parity, the verdict, and what to look at."""
    metric = report["metric"]["name"]
    width = max(9, len(metric))
    found = [
        "",
        f"{'arm':10} {metric:>{width}}   {'95 % interval':17} {'bytes':>12} {'p50 ms':>9}  runtime",
    ]
    for name, arm in report["arms"].items():
        low, high = arm["ci95"][metric]
        latency = arm["latency_ms"]
        found.append(
            f"{name:10} {arm['mean'][metric]:{width}.4f}   [{low:.4f}, {high:.4f}]  {arm['bytes']:12,} {latency['p50']:9.3f}  {latency['runtime']}"
        )
    found.append("")
    if report["verdict"] is None:
        found += [
            f"{name}: " + ", ".join(f"{key} {value:.4f}" for key, value in arm["mean"].items())
            for name, arm in report["arms"].items()
        ]
    for row in report["parity"]:
        state = "holds" if row["holds"] else "FAILS"
        found.append(
            f"parity {state}: {row['arm']}, seed {row['seed']}, {row['runtime']}: {row['flips']} of {row['units']} decisions differ"
        )
    return (
        found
        + verdict_lines(report["verdict"])
        + speed.sentences(report.get("speed"))
        + look(out, next_steps, layers=bool(report.get("layers")))
    )


def verdict_lines(verdict: dict[str, Any] | None) -> list[str]:
    """The verdict in a few sentences."""
    if verdict is None:
        return []
    low, high = verdict["drop_ci95"]
    found = [
        f"verdict: {'KEPT' if verdict['kept'] else 'NOT KEPT'}. Drop {verdict['drop']:.4f} [{low:.4f}, {high:.4f}], allowed {verdict['max_drop']:g}; "
        f"{verdict['speedup']:.1f} times as fast, {verdict['compression']:.1f} times smaller"
    ]
    found += [f"  because {reason}" for reason in verdict["reasons"]]
    for key, title in (("kd", "distillation"), ("joint", "joint training")):
        if verdict[f"{key}_gain"] is not None:
            low, high = verdict[f"{key}_gain_ci95"]
            helped = (
                "helped"
                if low > 0
                else "hurt"
                if high < 0
                else "made no difference that this test set can show"
            )
            found.append(
                f"{title} {helped}: {verdict[f'{key}_gain']:+.4f} [{low:+.4f}, {high:+.4f}]"
            )
    return found


def look(out: Path, next_steps: bool, *, layers: bool = False) -> list[str]:
    """Where the results lie, and for the demo what to try."""
    found = ["", f"report    {out / 'report.html'}"]
    found += [f"{name:9} {out / name}" for name in ("artifact", "model") if (out / name).is_dir()]
    found += [f"layers    limbeck inspect {out}"] * layers
    if next_steps:
        found += [
            "",
            "Next:",
            f"  limbeck bench {out / 'artifact'}",
            "  limbeck list losses",
            f"  limbeck run {out / 'recipe.yaml'} train.epochs=10 verdict.max_drop=0.06 --out {out.with_name(out.name + '-short')}",
        ]
    return found
