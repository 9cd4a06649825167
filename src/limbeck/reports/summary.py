"""A report as the lines that end a run in a terminal."""

from pathlib import Path
from typing import Any

from limbeck.core.terminal.shell import command
from limbeck.core.wording import figure
from limbeck.reports import calibration, speed
from limbeck.reports.lost import summary as summary_of_lost
from limbeck.reports.numbers import short
from limbeck.reports.outcome import gain_line, without_network
from limbeck.reports.writing import section

Json = dict[str, Any]


def lines(report: Json, out: Path) -> list[str]:
    """The table of arms, parity, the verdict, and what to look at; `out`: the run folder."""
    has_layers = bool(report.get("layers"))
    return [
        *arm_lines(report),
        *metric_lines(report),
        *parity_lines(report["parity"]),
        *verdict_lines(report["verdict"]),
        *calibration.sentences(report.get("calibration")),
        *speed.sentences(report.get("speed")),
        *lost_lines(report.get("lost")),
        *section.lines(report.get("written")),
        *places(out, has_layers=has_layers),
    ]


def arm_lines(report: Json) -> list[str]:
    """The table of arms, between two blank lines."""
    metric = report["metric"]["name"]
    width = max(9, len(metric))
    # What the speed-ups are ratios of, and what a user waits beside it.
    title = "CPU ms" if speed.is_cpu_time(report.get("speed")) else "median ms"
    table = [
        "",
        f"{'arm':10} {metric:>{width}}   {'95 % interval':17} {'bytes':>12} "
        f"{title:>9} {'clock ms':>9}  runtime",
    ]
    for name, arm in report["arms"].items():
        # A run always measures these two; the page alone reads reports without them.
        ends = arm["ci95"][metric]
        interval = "[{:.4f}, {:.4f}]".format(*ends) if ends else "-"
        measured = arm.get("what", "")  # what is not handed out has no bytes and no milliseconds
        if arm["latency_ms"]:
            latency = arm["latency_ms"]
            measured = (
                f"{arm['bytes']:12,} {speed.milliseconds(latency):9.3f} {latency['p50']:9.3f}  "
                f"{latency['runtime']}"
            )
        table.append(
            f"{name:10} {figure(arm['mean'][metric]):>{width}}   {interval:16}  {measured}"
        )
    return [*table, ""]


def metric_lines(report: Json) -> list[str]:
    """Every metric of every arm, for a run without a verdict: there they are the result."""
    if report["verdict"] is not None:
        return []
    found = []
    for name, arm in report["arms"].items():
        metrics = ", ".join(f"{key} {figure(value)}" for key, value in arm["mean"].items())
        found.append(f"{name}: {metrics}")
    return found


def parity_lines(parity: list[Json]) -> list[str]:
    """Whether each graph answers as the trained model; where it does not, the worst row."""
    lines = []
    for row in parity:
        line = (
            f"parity {'holds' if row['holds'] else 'FAILS'}: "
            f"{row['arm']}, seed {row['seed']}, {row['runtime']}: "
            f"{row['flips']} of {row['units']} decisions differ"
        )
        lines.append(line)
        # Reports of earlier versions have neither.
        lines += [f"  because {failure}" for failure in row.get("failures", [])]
        if row.get("last_bits"):
            lines.append(f"  {by_last_bits(row)}")
        if row.get("greedy"):
            lines += [f"  {line}" for line in by_itself(row)]
    return lines


def by_itself(row: Json) -> list[str]:
    """Perplexity and greedy answers of a runtime that writes by itself."""
    figures = (
        f"perplexity {row['perplexity']:.4f} there, {row['trained_perplexity']:.4f} of the trained "
        "model"
    )
    greedy = row["greedy"]
    # Rows of a token or two have no half to go on from.
    if not greedy["answers"]:
        return [figures]
    places = [place + 1 for place in greedy["first_differences"] if place is not None]
    told = "all as the reference says them"
    if places:
        told = f"{len(places)} part from the reference's, the first at token {min(places)}"
    return [figures, f"{greedy['answers']} greedy answers of {greedy['tokens']} tokens: {told}"]


def by_last_bits(row: Json) -> str:
    """What the trained model differs from itself, where a row of parity was judged by it."""
    own = row["last_bits"]
    share = own["largest"] / (row["logit_spread"] or 1.0)
    return (
        f"its own logits move by up to {share:.1%} of their spread, and {own['flips']} of "
        f"{row['units']} decisions, when the last bit of what the trained model rounds is moved"
        + ("; the graph moves no further. Longer training steadies it" if row["holds"] else "")
    )


def verdict_lines(verdict: Json | None) -> list[str]:
    """The verdict in a few sentences; nothing where none was asked for."""
    if verdict is None:
        return []
    low, high = verdict["drop_ci95"]
    sentences = [
        f"verdict: {'KEPT' if verdict['kept'] else 'NOT KEPT'}. {without_network(verdict)}"
        f"Drop {verdict['drop']:.4f} [{low:.4f}, {high:.4f}], allowed {verdict['max_drop']:g}; "
        f"{short(verdict['speedup'])} times as fast, {verdict['compression']:.1f} times smaller"
    ]
    sentences += [f"  because {reason}" for reason in verdict["reasons"]]
    sentences += [f"  although {note}" for note in verdict.get("notes", [])]
    return sentences + [gain_line(row) for row in verdict["gains"]]


def lost_lines(lost: Json | None) -> list[str]:
    """What the student lost, and the labels that a person should look at; nothing where nothing
    was compared."""
    if not lost:
        return []
    lines = [summary_of_lost(lost)]
    doubted = lost["label_errors"]["count"]
    if doubted:
        lines.append(
            f"{doubted:,} labels of the test split are doubted by teacher and student: "
            "label_errors.csv has them, the surest first"
        )
    return lines


def places(out: Path, *, has_layers: bool) -> list[str]:
    """Where the results lie, after a blank line."""
    found = ["", f"report    {out / 'report.html'}"]
    # A run leaves an artifact, a float model, or neither where parity fails.
    found += [f"{name:9} {out / name}" for name in ("artifact", "model") if (out / name).is_dir()]
    if has_layers:
        # The page has them too, without milliseconds.
        found.append(f"layers    {command('inspect', out)}")
    return found


def commands(out: Path) -> list[str]:
    """What to try after the demo."""
    # In eight bits, which lose nothing afterwards that a training could save.
    other = out.with_name(out.name + "-int8")
    again = command("run", out / "recipe.yaml", "quantize.weights=int8", "--out", other)
    return [
        "",
        "Next:",
        f"  {command('bench', out / 'artifact')}",
        f"  {command('list', 'losses')}",
        f"  {again}",
    ]
