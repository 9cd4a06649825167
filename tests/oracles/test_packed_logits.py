"""What is kept of a vocabulary's logits, against slow code, the live losses and the stated bound."""

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from limbeck.distillation.fused import Comparison, fused_sum
from limbeck.distillation.packed_logits import (
    LOGIT_ERROR,
    STEP,
    TOP,
    PackedLogits,
    Projection,
    largest,
    make_logits_writer,
    open_logits,
    restored,
)
from limbeck.distillation.row_codes import Column, open_rows, pack, unpack
from limbeck.distillation.teacher import TeacherRequest
from limbeck.distillation.teacher_cache import TeacherCache, open_cache, write_cache
from limbeck.losses.jensen_shannon import JensenShannon
from limbeck.losses.kl import Kl
from limbeck.losses.reverse_kl import ReverseKl
from limbeck.losses.soft_cross_entropy import SoftCrossEntropy
from limbeck.models.projection import Projected
from limbeck.models.running import run_model
from limbeck.models.taps import Outputs
from limbeck.models.torch_batches import batch_of
from limbeck.pipeline.steps.teacher_outputs import num_kept
from limbeck.tasks import Batch, Encoded
from limbeck.tasks.packed import Part

COLUMNS = [Column(3, 1), Column(2, 2), Column(1, 3)]


@settings(max_examples=25)
@given(st.integers(0, 9), st.data())
def test_a_row_is_read_as_it_was_written(num_units: int, data: st.DataObject) -> None:
    values = [
        data.draw(arrays(np.int64, (num_units, c.count), elements=st.integers(0, 256**c.size - 1)))
        for c in COLUMNS
    ]
    content = pack(COLUMNS, values)
    found = unpack(content, COLUMNS, num_units)
    for given_values, read in zip(values, found, strict=True):
        np.testing.assert_array_equal(read, given_values)
    if num_units:
        for wrong in (content[:-1], content[:9], b"", bytes([*content[:-1], content[-1] ^ 1])):
            with pytest.raises(ValueError, match="damaged"):
                unpack(wrong, COLUMNS, num_units)
        with pytest.raises(ValueError, match="damaged"):
            unpack(content, COLUMNS, num_units + 1)


def test_likely_numbers_take_few_bits() -> None:
    """Within 5 % of the entropy of each byte, for numbers of one geometric law."""
    values = np.random.default_rng(0).geometric(0.1, (500, 60))
    _, counts = np.unique(values, return_counts=True)
    shares = counts / values.size
    entropy = -(shares * np.log2(shares)).sum() * values.size / 8
    assert entropy < len(pack([Column(60, 2)], [values])) < 1.05 * entropy


def kept(folder: Path, outputs: Outputs, top: int, counts: np.ndarray) -> PackedLogits:
    """The outputs written and read again."""
    writer = make_logits_writer(folder, outputs, counts, top)
    writer.write(np.arange(len(counts)), outputs)
    writer.close()
    reader = open_logits(folder, counts, top, outputs.num_labels)
    later: Any = outputs.later
    projection = None if later is None else Projection(later.weight, later.bias)
    rows = [reader.row(row) for row in range(len(counts))]
    return restored(rows, outputs.mask.shape[1], outputs.num_labels, projection)


def teacher_of(
    seed: int, scale: float, num_labels: int = 40, width: int = 8, units: int = 3
) -> Outputs:
    """Two rows of a projection with a bias, as peaked as `scale` is large."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    weight = draw(num_labels, width) + 1
    hidden = scale / math.sqrt(width) * draw(2, units, width) + 0.5
    projected = Projected(hidden, weight, draw(num_labels), torch.float32)
    return Outputs(projected, torch.ones(2, units, dtype=torch.bool))  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", [0.1, 3.0, 40.0])
def test_the_largest_and_the_mass_of_the_others_are_as_kept(tmp_path: Path, scale: float) -> None:
    outputs = teacher_of(0, scale)
    log_p = outputs.logits.double().log_softmax(-1)
    for each in (outputs, Outputs(outputs.logits, outputs.mask)):
        found = kept(tmp_path, each, 4, np.array([3, 2])).of_units(torch.arange(5)).double()
        for unit in range(5):
            of_unit = log_p.flatten(0, 1)[unit]
            first = sorted(range(40), key=lambda v, row=of_unit: -float(row[v]))
            for v in first[:4]:
                # Half a step, and float32's own.
                assert abs(float(found[unit, v] - of_unit[v])) <= STEP / 2 + 1e-4
            others = torch.tensor(first[4:])
            mass = of_unit[others].logsumexp(0)
            assert abs(float(found[unit][others].logsumexp(0) - mass)) <= STEP / 2 + 1e-4
            if each.later is None:
                # Without a projection they share evenly.
                assert np.ptp(found[unit][others].numpy()) == 0
        # The projection tells them apart.
        if each.later is not None:
            off = (found - log_p.flatten(0, 1)[:5]).abs()
            assert off.max() < 8 * LOGIT_ERROR
        (tmp_path / "grid.npy").unlink(missing_ok=True)


def bound(name: str, temperature: float, half: Tensor, student: Tensor, teacher: Tensor) -> Tensor:
    """The table of `packed_logits`, at beta 1/2."""
    variation = temperature * torch.tanh(half / (2 * temperature))
    if name == "reverse_kl":
        return 2 * temperature * half
    if name == "jensen_shannon":
        return 2 * temperature * half * 0.5 * (math.log(2) + 1 / math.e)
    compared = student if name == "soft_cross_entropy" else teacher - student
    weighed = variation * (compared.amax(-1) - compared.amin(-1))
    return weighed if name == "soft_cross_entropy" else weighed + half**2 / 2


LOSSES: dict[str, Callable[..., Any]] = {
    "soft_cross_entropy": SoftCrossEntropy,
    "kl": Kl,
    "reverse_kl": ReverseKl,
    "jensen_shannon": JensenShannon,
}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    scale=st.floats(0.01, 60),
    sharpness=st.floats(0.0, 30),
    temperature=st.floats(1, 4),
    top=st.integers(1, 39),
    is_projected=st.booleans(),
)
def test_losses_are_off_by_less_than_the_bound(
    tmp_path: Path,
    seed: int,
    scale: float,
    sharpness: float,
    temperature: float,
    top: int,
    is_projected: bool,
) -> None:
    (tmp_path / "grid.npy").unlink(missing_ok=True)
    live = teacher_of(seed, scale)
    if not is_projected:
        live = Outputs(live.logits, live.mask)
    cached = Outputs(kept(tmp_path, live, top, np.array([3, 3])), live.mask)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(seed)
    student = Outputs(sharpness * torch.randn(2, 3, 40, generator=generator), live.mask)
    labels = torch.zeros(2, 3, dtype=torch.int64)
    batch: Any = SimpleNamespace(labels=labels)
    off = (cached.logits - live.logits).double()
    half = (off.amax(-1) - off.amin(-1)) / 2
    wide = Outputs(student.logits.double(), live.mask)
    exact = Outputs(live.logits.double(), live.mask)
    again = Outputs(cached.logits.double(), live.mask)
    for name, loss in LOSSES.items():
        of_units = loss(temperature=temperature).of_units
        found = of_units(wide, again, batch, 0.0) - of_units(wide, exact, batch, 0.0)
        most = bound(name, temperature, half, wide.logits, again.logits)
        assert (found.abs() <= most + 1e-9).all(), name


def test_rounding_moves_a_logit_by_what_is_said(tmp_path: Path) -> None:
    outputs = teacher_of(0, 3.0, num_labels=500, width=64, units=200)
    found = kept(tmp_path, outputs, 1, np.array([200, 200]))
    assert found.projected is not None
    everything = torch.arange(400)
    later: Any = outputs.later
    off = found.projected.of_units(everything) - later.of_units(everything)
    assert float(off.std(-1).square().mean().sqrt()) == pytest.approx(LOGIT_ERROR, rel=0.03)
    # On average kl(p || p^) is half of its square where p is flat, whoever the student is.
    p = (outputs.logits / 4).flatten(0, 1).log_softmax(-1)
    q = (found.projected.of_units(everything) / 4).log_softmax(-1)
    nats = 4**2 * (p.exp() * (p - q)).sum(-1).mean()
    assert float(nats) == pytest.approx(LOGIT_ERROR**2 / 2, rel=0.1)


# A matrix of 28 million numbers.
@pytest.mark.slow
@pytest.mark.parametrize(("scale", "most"), [(1.5, 350), (3.1, 365)])
def test_a_vocabulary_of_49_152_takes_some_350_bytes_a_token(
    tmp_path: Path, scale: float, most: int
) -> None:
    """Of SmolLM2's shape; its logits are spread by 3.1 nats. Random numbers have no order that would save a bit: its own answers take 326 (docs/log.md)."""
    outputs = teacher_of(0, scale, num_labels=49_152, width=576, units=60)
    writer = make_logits_writer(tmp_path, outputs, np.array([60, 60]), TOP)
    writer.write(np.arange(2), outputs)
    writer.close()
    assert (tmp_path / "logits.bin").stat().st_size / 120 < most


class Anything:
    """A task of which only the padding is asked."""

    padding: dict[str, int] = {}  # noqa: RUF012


def decoder() -> tuple[Any, list[Encoded]]:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        initializer_range=0.4,
    )
    generator = np.random.default_rng(0)
    rows = []
    for length in generator.integers(4, 20, 9):
        ids = generator.integers(0, 300, length)
        positions = np.arange(2, length - 1)
        inputs = {"input_ids": ids, "attention_mask": np.ones(length, int)}
        rows.append(Encoded(inputs, positions, ids[positions + 1]))
    return LlamaForCausalLM(config).eval(), rows


def labelled(folder: Path, parts: int = 1) -> tuple[Any, list[Encoded], TeacherCache]:
    model, rows = decoder()
    size = -(-len(rows) // parts)
    folders = []
    for part in range(parts):
        folders.append(folder / str(part))
        folders[-1].mkdir(parents=True)
        some = Part(rows, part * size, min(len(rows), (part + 1) * size))
        request = TeacherRequest([], torch.float32, top=8)
        write_cache(model, some, Anything(), request, folders[-1])  # type: ignore[arg-type]
    return model, rows, open_cache(folders, size, lambda: model)


def test_a_decoder_is_cached_unit_by_unit(tmp_path: Path) -> None:
    model, rows, cache = labelled(tmp_path, parts=3)
    # In another order and padding than while it was filled, over three parts.
    batch: Batch = batch_of(rows, np.array([8, 0, 4, 3]), {})
    with torch.no_grad():
        live = run_model(model, batch)
    found = cache(batch)
    assert found.later is not None
    assert torch.equal(found.mask, live.mask)
    log_p = live.logits.log_softmax(-1)[live.mask]
    off = found.logits[live.mask] - log_p
    assert float(off.std()) < 1.2 * LOGIT_ERROR
    chosen = log_p.topk(8).indices
    assert off.gather(-1, chosen).abs().max() <= STEP / 2 + 1e-4
    units = torch.tensor([5, 0, 17])
    some = found.later.of_units(units)
    torch.testing.assert_close(some, found.logits.flatten(0, 1)[units], atol=1e-4, rtol=1e-5)


def test_the_loss_in_chunks_is_that_on_restored_logits(tmp_path: Path) -> None:
    model, rows, cache = labelled(tmp_path)
    batch = batch_of(rows, np.array([8, 0, 4]), {})
    found = cache(batch)
    student = run_model(model, batch, project_later=True)
    assert isinstance(student.later, Projected)
    kl = Kl()
    compared = Comparison([kl.of_units], [student.mask], student.mask, found, batch, 0.0)
    total, _ = fused_sum(compared, student.later, [torch.tensor(1.0)])
    whole = kl(run_model(model, batch), Outputs(found.logits, found.mask), batch, 0.0)
    torch.testing.assert_close(total, whole, atol=1e-6, rtol=1e-5)


def test_the_same_rows_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("first", "second"):
        labelled(tmp_path / name)
    for path in (tmp_path / "first" / "0").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / "0" / path.name).read_bytes()


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    model, rows, _ = labelled(tmp_path, parts=3)
    folders = [tmp_path / str(part) for part in range(3)]
    path = folders[1] / "logits.bin"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    cache = open_cache(folders, 3, lambda: model)
    with pytest.raises(ValueError, match=r"1/logits\.bin: row \d is damaged.*next run asks"):
        cache(batch_of(rows, np.array([3, 4, 5]), {}))
    path.write_bytes(content[:-1])
    with pytest.raises(ValueError, match=r"1/logits\.bin: [\d,]+ bytes of"):
        open_cache(folders, 3, lambda: model)
    path.unlink()
    with pytest.raises(ValueError, match=r"1/logits\.bin: not there"):
        open_cache(folders, 3, lambda: model)
    assert open_rows(folders[0], "logits", [], np.zeros(3, int)).read(0) == []


def test_a_teacher_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        largest(torch.tensor([[0.0, math.nan, 1.0]]), 1)
    outputs = teacher_of(0, 1.0)
    later: Any = outputs.later
    later.hidden[0, 0, 0] = math.inf
    with pytest.raises(ValueError, match="not finite"):
        largest(outputs.logits[0], 1)


@pytest.mark.parametrize(
    ("top_k", "likelihood", "num_labels", "expected"),
    [
        (None, "categorical", 1024, 0),
        (None, "categorical", 1025, TOP),
        (None, "bernoulli", 5000, 0),
        (0, "categorical", 5000, 0),
        (8, "categorical", 9, 8),
        (8, "categorical", 8, 0),
    ],
)
def test_how_many_logits_are_kept(
    top_k: int | None, likelihood: str, num_labels: int, expected: int
) -> None:
    task: Any = SimpleNamespace(labels=range(num_labels), likelihood=likelihood)
    assert num_kept(top_k, task) == expected
