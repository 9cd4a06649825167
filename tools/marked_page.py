"""What a script writes between its two marks of a page, and how a test knows that it is so."""

import sys
from pathlib import Path


def page_with(text: str, block: str) -> str:
    """The page with a block in place of what stands between the block's first and last line, which
    are its marks."""
    begin, *_, end = block.splitlines()
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return before + block + after


def write(page: Path, block: str) -> None:
    """Write the block into the page; with --check say by the exit status whether it is there."""
    text = page.read_text(encoding="utf-8")
    written = page_with(text, block)
    if "--check" in sys.argv:
        sys.exit(written != text)
    page.write_text(written, encoding="utf-8")
