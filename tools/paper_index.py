"""Write docs/paper_index.md: every paper that the docstrings and comments cite, and where.

`python tools/paper_index.py`. A citation is `Authors, year, arXiv 1503.02531`, perhaps after a
name: `(FitNets, Romero et al., 2015, arXiv 1412.6550)`.
"""

import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "paper_index.md"
SOURCE = ROOT / "src" / "limbeck"

HEAD = """# Papers

What the code follows, by `python tools/paper_index.py`. Each file says how its formula stands in the
paper, and where it deviates.

| Paper | arXiv | Files of `src/limbeck` |
|---|---|---|
"""

AUTHORS = r"(?:van den )?[A-Z]\w+(?:, [A-Z]\w+)?(?: et al\.| and [A-Z]\w+)?"
NAME_AUTHORS_YEAR = re.compile(rf"(?:[\w-]*[A-Z][\w+-]*, )?{AUTHORS}, (?:19|20)\d\d$")
# Characters of a name, authors and a year.
LONGEST = 100
CITED = re.compile(r"(?:, )?arXiv:? ?(\d{4}\.\d{4,5})")


def citations() -> dict[str, tuple[str, list[str]]]:
    """arXiv number -> the longest wording of its citation, and the files that cite it."""
    words: dict[str, str] = defaultdict(str)
    files: dict[str, list[str]] = defaultdict(list)
    for path in sorted(SOURCE.rglob("*.py")):
        # A citation may run over the end of a line, of a comment too.
        text = re.sub(r"\n\s*#?\s*", " ", path.read_text(encoding="utf-8"))
        for found in CITED.finditer(text):
            number = found[1]
            before = re.split("[();]", text[: found.start()][-LONGEST:])[-1]
            cited = wording(before)
            words[number] = max(words[number], cited, key=len)
            name = path.relative_to(SOURCE).as_posix()
            if name not in files[number]:
                files[number].append(name)
    return {number: (words[number], files[number]) for number in sorted(files)}


def wording(before: str) -> str:
    """The end of what stands before an arXiv number: a name perhaps, authors, a year."""
    found = NAME_AUTHORS_YEAR.search(before)
    return found.group() if found else ""


def page() -> str:
    """The whole of docs/paper_index.md."""
    rows = []
    for number, (words, files) in citations().items():
        link = f"[{number}](https://arxiv.org/abs/{number})"
        rows.append(f"| {words} | {link} | {', '.join(f'`{file}`' for file in files)} |")
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
