"""Files of annotation tools and chatbots: refused by `limbeck init` with a command that makes rows.

Python does it in each, for the shells of systems differ.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from limbeck.core.terminal.shell import command, script
from limbeck.sources._files import Lines

WRITE = 'open({out}, "w", encoding="utf-8").writelines(json.dumps(x) + "\\n" for x in rows)'
# Rasa: `- intent: NAME` and `examples: |` with a line each; `[Berlin](city)` names an entity.
RASA = (
    "import json, re, yaml; "
    'rows = [{{"intent": i["intent"], '
    '"text": re.sub(r"\\[([^]]+)\\](\\([^)]*\\)|\\{{[^}}]*\\}})", r"\\1", t)}} '
    'for i in yaml.safe_load(open({file}, encoding="utf-8"))["nlu"] if "intent" in i '
    'for t in re.findall(r"(?m)^\\s*- (.+)$", str(i["examples"]))]; '
)
# The same as Markdown, which Rasa read until 2.0: `## intent:NAME`, and `- text` a line below.
RASA_MARKDOWN = (
    "import json, re; "
    'rows = [{{"intent": h.partition(":")[2].strip(), '
    '"text": re.sub(r"\\[([^]]+)\\](\\([^)]*\\)|\\{{[^}}]*\\}})", r"\\1", t.strip()[1:]'
    ').strip()}} for b in re.split(r"(?m)^##\\s*", open({file}, encoding="utf-8").read())[1:] '
    'for h, *ts in [b.splitlines()] if h.startswith("intent:") '
    'for t in ts if t.strip()[:1] in ("-", "*", "+")]; '
)
# brat (https://brat.nlplab.org/standoff.html): `T1<tab>NAME START END<tab>TEXT` in NAME.ann, of the
# characters of NAME.txt. A row is a line, to which the spans in it are counted anew; one in several
# pieces (`0 5;16 23`) has no row.
BRAT = (
    "import glob, json, re; rows = ["
    '{"text": m[0], "entities": [[int(b) - m.start(), int(e) - m.start(), n] '
    'for n, b, e in re.findall(r"(?m)^T\\d+\\t(\\S+) (\\d+) (\\d+)\\t", a) '
    "if m.start() <= int(b) and int(e) <= m.end()]} "
    'for f in sorted(glob.glob("*.ann")) for a in [open(f, encoding="utf-8").read()] '
    'for m in re.finditer(r".+", open(f[:-3] + "txt", encoding="utf-8", newline="").read())]; '
)
# Prodigy: rows that a person accepted, rejected or left; of choices, what was accepted.
ANSWERS = {"accept", "reject", "ignore"}
PRODIGY = (
    "import json; rows = [{k: r[k] for k in r if k in "
    '["text", "spans", "tokens", "label", "html"]} '
    '| ({"label": r["accept"]} if "options" in r else {}) '
    'for line in open(FILE, encoding="utf-8") if line.strip() '
    'for r in [json.loads(line)] if r["answer"] == "accept"]; '
)


def refuse_tools(files: Sequence[Path]) -> None:
    """Raise ValueError for files of Rasa or brat, with the command."""
    names = {file.name for file in files}
    for file in files:
        suffix = file.suffix.lower()
        if suffix == ".ann" and file.with_suffix(".txt").name in names:
            raise _refusal(file, "spans of brat", "each line of text", BRAT, "rows.jsonl")
        of_rasa = _rasa(file, suffix)
        if of_rasa:
            making = of_rasa.format(file=json.dumps(file.name))
            raise _refusal(file, "intents of Rasa", "each example", making, "rows.jsonl")


def refuse_prodigy(file: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Raise ValueError for answers of Prodigy that leave rows out, or choose among labels."""
    first = records[0] if records else {}
    answers = {str(record.get("answer")) for record in records}
    # Hashes are left out by who writes such rows once more; what was annotated stands beside.
    is_annotated = bool({"spans", "options", "label"} & set(first)) and "accept" in answers
    if not answers <= ANSWERS or not ("_input_hash" in first or is_annotated):
        return
    if answers != {"accept"} or "options" in first:
        making = PRODIGY.replace("FILE", json.dumps(file.name))
        told = "answers of Prodigy, where a row may be rejected or ignored"
        raise _refusal(file, told, "each that was accepted", making, f"{file.stem}-accepted.jsonl")


def _refusal(file: Path, told: str, row: str, making: str, out: str) -> ValueError:
    code = making + WRITE.format(out=json.dumps(out))
    return ValueError(
        f"{file}: {told}. Write a row for {row}, in that folder: {script(code)} && "
        f"{command('init', out)}"
    )


def _rasa(file: Path, suffix: str) -> str:
    """What makes rows of a file of Rasa; nothing for another file."""
    making, begin = {
        ".yml": (RASA, "nlu:"),
        ".yaml": (RASA, "nlu:"),
        ".md": (RASA_MARKDOWN, "## intent:"),
    }.get(suffix, ("", ""))
    is_rasa = bool(making) and any(line.startswith(begin) for line in Lines(file, "utf-8"))
    return making if is_rasa else ""
