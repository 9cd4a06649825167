"""Is the encoding of a text told right, beside charset-normalizer?

    python benchmarks/encodings.py [--seed 0]

The sentences of tests/test_encodings.py, in each of their encodings, as tables of 1 to 40 rows
drawn from them. Prints for each how many were read as they were written (*right*), were left open
(*open*: the user is asked), and were read as other letters without a doubt (*wrong*).
charset-normalizer has to be installed for its row.
"""

import argparse
import random
import sys
from pathlib import Path

from limbeck.sources._encodings import judge

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from test_encodings import EACH, table

NUM_ROWS = (1, 1, 1, 2, 2, 2, 4, 4, 4, 20, 20, 40)


def ours(content: bytes) -> str | None:
    """The encoding that limbeck reads a table in; None where it asks."""
    judgement = judge(content.splitlines(), len(content))
    return judgement.readings[0].encoding if judgement.is_sure else None


def of_charset_normalizer(content: bytes) -> str | None:
    """The best guess of charset-normalizer."""
    import charset_normalizer

    best = charset_normalizer.from_bytes(content).best()
    return best.encoding if best else None


def main() -> None:
    """Print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    chance = random.Random(parser.parse_args().seed)
    tables = []
    for encoding, texts in EACH:
        for num_rows in NUM_ROWS:
            rows = [chance.choice(texts) for _ in range(num_rows)]
            content = table(rows, 1).encode(encoding)
            if not content.isascii():
                tables.append((encoding, content))
    for name, guess in (("limbeck", ours), ("charset-normalizer", of_charset_normalizer)):
        counts = {"right": 0, "open": 0, "wrong": 0}
        for encoding, content in tables:
            found = guess(content)
            is_right = found and content.decode(found, "replace") == content.decode(encoding)
            counts["right" if is_right else "wrong" if found else "open"] += 1
        print(f"{name}: {counts}")


if __name__ == "__main__":
    main()
