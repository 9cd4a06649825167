"""Does a watch alarm when requests have changed, and else not? On the rows of a file, as an artifact answers them.

    python benchmarks/drift.py ARTIFACT FILE [STREAMS]
    python benchmarks/drift.py bound

FILE: rows that the artifact has not seen, such as the test split, as `limbeck predict` reads them. Of its rows STREAMS (5) streams of 100,000 requests are drawn, with replacement, and held against the artifact's reference.json. Then, after
6,000 requests each: a tenth of all requests goes over to the label that is answered most seldom, and texts are cut to half of their words. Printed: alarms in the unshifted streams, the requests until a shift is seen, and what counting and looking costs. The exit status is 1
where an unshifted stream has more than one alarm against the requests before it.

`bound`: how soon the best of all tests sees a tenth of all requests go over to one of equal labels: Page's cumulative sum (CUSUM), told which label it is, and its shares before and after. No test with as few false alarms has a shorter mean delay (Moustakides, 1986).

Alarms against validation are told by themselves: FILE may really be unlike validation, and all streams are drawn from the same few rows.
"""

import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import limbeck
from limbeck.artifact.predictor import Predictor
from limbeck.artifact.rows.inputs import read_items
from limbeck.artifact.rows.reading import reading_of
from limbeck.evaluation.drift.observing import Value, observed
from limbeck.evaluation.drift.reference import Reference
from limbeck.evaluation.drift.tally import Tally, num_counts
from limbeck.evaluation.drift.watch import AGAINST, HORIZON, Watch

STEP = 50
BEFORE = 6_000
LONGEST = 20_000
Values = Mapping[str, Value]
# A request: what was observed of it, and the number of its row.
Request = tuple[Values, int]


def observe(predictor: Predictor, raws: Sequence[Any]) -> list[Values]:
    """What is observed of the answers to raw inputs; those that cannot be answered are left out."""
    found: list[Values] = []
    for raw in raws:
        try:
            row = predictor.row(raw)
            encoded = predictor.encoded(row)
        except ValueError:
            continue
        answer = predictor.answer(row, predictor.logits(row))
        found.append(observed(row, encoded, answer))
    return found


def halved(raw: Any) -> Any:
    """An input with the first half of its words; anything else as it is."""
    if isinstance(raw, dict):
        return {key: halved(value) for key, value in raw.items()}
    if isinstance(raw, list | tuple):
        return type(raw)(raw[: (len(raw) + 1) // 2])
    if not isinstance(raw, str):
        return raw
    words = raw.split()
    return " ".join(words[: (len(words) + 1) // 2])


def seldom(reference: Reference, found: Sequence[Values]) -> list[int]:
    """The rows that were answered with the label which the fewest have, of those that any has."""
    first = reference.statistics[0]
    places: dict[int, list[int]] = {}
    for number, values in enumerate(found):
        for place in first.categories(values[first.name]):
            places.setdefault(place, []).append(number)
    return min(places.values(), key=len)


class Stream:
    """Requests counted and looked at, a step at a time."""

    def __init__(self, reference: Reference) -> None:
        self.counts = np.zeros(num_counts(reference), np.int64)
        self.tally = Tally(reference, self.counts)
        self.watch = Watch(reference)

    def run(
        self, draw: Callable[[], Request], most: int, *, until_alarm: bool
    ) -> tuple[float, list[str]]:
        """The requests until the first alarm, infinite without one, and all that was told."""
        told: list[str] = []
        first = math.inf
        for number in range(1, most + 1):
            self.tally.add_values(*draw())
            if number % STEP == 0:
                told += self.watch.look(self.counts)
            if told and first == math.inf:
                first = number
                if until_alarm:
                    break
        return first, told


def drawn(found: Sequence[Values], generator: np.random.Generator) -> Callable[[], Request]:
    """Draws requests from rows."""

    def draw() -> Request:
        number = int(generator.integers(len(found)))
        # A number of its own for each: that the same few rows come again is the benchmark's doing.
        return found[number], int(generator.integers(1 << 32))

    return draw


def delays(
    reference: Reference,
    before: Sequence[Values],
    after: Callable[[np.random.Generator], Callable[[], Request]],
    streams: int,
) -> str:
    """After how many requests a shift was seen, in words."""
    seen = []
    for seed in range(streams):
        generator = np.random.default_rng(seed)
        stream = Stream(reference)
        stream.run(drawn(before, generator), BEFORE, until_alarm=False)
        stream.watch.alarms = 0
        seen.append(stream.run(after(generator), LONGEST, until_alarm=True)[0])
    return f"median {statistics.median(seen):g}, most {max(seen):g}; within 500 in {sum(each <= 500 for each in seen)} of {streams}"


def costs(predictor: Predictor, raw: Any, stream: Stream) -> str:
    """What one more request, and one look, takes."""
    row = predictor.row(raw)
    encoded, logits = predictor.encoded(row), predictor.logits(row)
    answer = predictor.answer(row, logits)
    rounds = []
    for _ in range(20):
        began = time.process_time()
        for _ in range(500):
            stream.tally.add(row, encoded, answer)
        rounds.append((time.process_time() - began) / 500)
    looks = []
    for _ in range(40):
        for _ in range(500):
            stream.tally.add(row, encoded, answer)
        began = time.process_time()
        stream.watch.look(stream.counts)
        looks.append(time.process_time() - began)
    return f"{min(rounds) * 1e6:.1f} us a request, {statistics.median(looks) * 1e3:.1f} ms a look at all windows, {stream.counts.nbytes:,} bytes a process"


def bound(labels: int, requests_per_alarm: float, paths: int = 20_000) -> str:
    """How soon CUSUM sees a tenth of all requests go over to one of so many equal labels, in words.

    requests_per_alarm: of an unshifted stream, on average.
    """
    before = 1 / labels
    # Of two labels a tenth of all requests comes from the other one; of more, from all alike.
    after = 0.6 if labels == 2 else 0.9 * before + 0.1
    steps = math.log(after / before), math.log((1 - after) / (1 - before))
    # 1. The height at which so few false alarms are left: they fall as exp(-height), measured where they are frequent, and again at one in 100,000.
    height = 5.0
    for wanted in (1e5, requests_per_alarm):
        alarms = false_alarms(before, steps, height, paths)
        height += math.log(wanted * alarms / (paths * CUSUM_REQUESTS))
    # 2. How long a shift takes that begins where the sum is 0, which is the worst moment.
    chance = np.random.default_rng(1)
    sums, seen = np.zeros(paths), np.full(paths, math.inf)
    for number in range(1, LONGEST + 1):
        sums = np.maximum(sums, 0) + np.where(chance.random(paths) < after, *steps)
        seen[(sums >= height) & (seen == math.inf)] = number
        if number % 500 == 0 and seen.max() < math.inf:
            break
    return f"{labels} labels, {before:.3f} to {after:.3f}, a false alarm in {requests_per_alarm:,.0f}: mean {seen.mean():.0f}, median {np.median(seen):.0f}, 90 of 100 within {np.quantile(seen, 0.9):.0f}, within 500 in {np.mean(seen <= 500):.0%}"


# Of each path on which false alarms are counted.
CUSUM_REQUESTS = 10_000


def false_alarms(share: float, steps: tuple[float, float], height: float, paths: int) -> int:
    """How often CUSUM of this height alarms on unshifted requests, `share` of which have the label."""
    chance = np.random.default_rng(0)
    sums, alarms = np.zeros(paths), 0
    for _ in range(CUSUM_REQUESTS):
        sums = np.maximum(sums, 0) + np.where(chance.random(paths) < share, *steps)
        is_alarm = sums >= height
        alarms += int(is_alarm.sum())
        sums[is_alarm] = 0
    return alarms


def main(artifact: str, file: str, streams: int) -> int:
    """Print all of it."""
    predictor = limbeck.load(artifact)
    reference = predictor.reference
    if reference is None:
        raise SystemExit(f"{artifact}: no reference.json. Export the artifact again")
    reading = reading_of(predictor, {}, None, None, lambda note: None)
    raws = [item.raw for item in read_items(file, None, reading) if not item.problem]
    found = observe(predictor, raws)
    print(
        f"{artifact}: {reference.rows:,} rows of validation, {len(found):,} of {file}; {', '.join(each.name for each in reference.statistics)}"
    )
    worst = 0
    for seed in range(streams):
        stream = Stream(reference)
        _, told = stream.run(drawn(found, np.random.default_rng(seed)), HORIZON, until_alarm=False)
        against = {
            name: sum(("validation" in line) == (name == "validation") for line in told)
            for name in AGAINST
        }
        worst = max(worst, against["earlier"])
        print(f"  unshifted {seed}: {against}{''.join(f'{chr(10)}    {line}' for line in told)}")
    rare = seldom(reference, found)

    def to_one_label(generator: np.random.Generator) -> Callable[[], Request]:
        plain = drawn(found, generator)
        return lambda: (
            (found[int(generator.choice(rare))], 0) if generator.random() < 0.1 else plain()
        )

    print(f"  a tenth to one answer: {delays(reference, found, to_one_label, streams)}")
    short = observe(predictor, [halved(raw) for raw in raws])
    print(
        f"  half of the words: {delays(reference, found, lambda generator: drawn(short, generator), streams)}"
    )
    print(f"  {costs(predictor, raws[0], stream)}")
    return int(worst > 1)


if __name__ == "__main__":
    if sys.argv[1:] == ["bound"]:
        for labels in (2, 6, 77):
            for requests_per_alarm in (1e5, 2e6):
                print(bound(labels, requests_per_alarm), flush=True)
        sys.exit()
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if sys.argv[3:] else 5))
