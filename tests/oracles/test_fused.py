"""Losses over a vocabulary in chunks: values and gradients against the same losses on whole logits, whatever the model, mask and chunk."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from limbeck.core import registry
from limbeck.core.schedules import schedule
from limbeck.distillation.binding import refuse_other_vocabulary
from limbeck.distillation.conflict import ConflictProbe, first_layer
from limbeck.distillation.fused import Comparison, fused_sum
from limbeck.distillation.objective import Objective, Term
from limbeck.losses import UnitLoss, counted
from limbeck.models import projection
from limbeck.models.projection import Projected
from limbeck.models.running import run_model
from limbeck.models.taps import HIDDEN, Outputs, Tap
from limbeck.models.torch_batches import to_device
from limbeck.quantization.after_training import calibrate
from limbeck.quantization.modules.swap import squared_error
from limbeck.quantization.plan import plan_schemes
from limbeck.quantization.prepare import prepare_model
from limbeck.recipe.model import Quantize
from limbeck.tasks import UNKNOWN, Batch

V, D, T = 97, 32, 12
UNIT_LOSSES = [
    name for name in registry.names("losses") if issubclass(registry.load("losses", name), UnitLoss)
]
SMALL: dict[str, Any] = {
    "vocab_size": V,
    "hidden_size": D,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
LLAMA: dict[str, Any] = {**SMALL, "intermediate_size": 64, "num_key_value_heads": 2}


def llama(seed: int = 0, *, tied: bool = True) -> nn.Module:
    torch.manual_seed(seed)
    return LlamaForCausalLM(LlamaConfig(**LLAMA, tie_word_embeddings=tied))


def gemma() -> nn.Module:
    torch.manual_seed(0)
    return Gemma2ForCausalLM(Gemma2Config(**LLAMA, head_dim=8, final_logit_softcapping=30.0))


def bert() -> nn.Module:
    torch.manual_seed(0)
    return BertForMaskedLM(BertConfig(**SMALL, intermediate_size=64))


def gpt2() -> nn.Module:
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=V, n_embd=D, n_layer=2, n_head=4))


def batch_of_units(seed: int = 0) -> Batch:
    """Three rows of 5, 2 and 0 units; one unit has no label."""
    generator = np.random.default_rng(seed)
    ids = torch.from_numpy(generator.integers(0, V, (3, T)))
    positions = torch.from_numpy(
        np.sort(generator.permuted(np.tile(np.arange(T), (3, 1)), axis=1)[:, :5])
    )
    mask = torch.arange(5) < torch.tensor([[5], [2], [0]])
    labels = torch.from_numpy(generator.integers(0, V, (3, 5)))
    labels[0, 1] = UNKNOWN
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return Batch(inputs, positions, labels, mask, np.arange(3))


@pytest.fixture(params=[3, 1000])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many units are computed at once."""
    monkeypatch.setattr(projection, "CHUNK_BYTES", 4 * V * request.param)
    return request.param


def terms(*names: str) -> list[Term]:
    return [
        Term(name, schedule(0.5 + number), registry.create("losses", name, {}))
        for number, name in enumerate(names)
    ]


def gradients(model: nn.Module) -> dict[str, Tensor]:
    found = {
        name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None
    }
    model.zero_grad()
    return found


def step(
    model: nn.Module,
    teacher: nn.Module,
    names: tuple[str, ...],
    *,
    later: bool,
    batch: Batch | None = None,
) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """The total, each term, and the gradients of every parameter."""
    batch = batch or batch_of_units()
    student = run_model(model, batch, project_later=later)
    with torch.no_grad():
        answers = run_model(teacher, batch, project_later=later)
    assert (student.later is not None) is later
    total, parts = Objective(terms(*names))(student, answers, batch, 0.5)
    total.backward()
    return total.detach(), {name: part.detach() for name, part in parts.items()}, gradients(model)


def assert_same(one: Any, other: Any, **tolerance: float) -> None:
    torch.testing.assert_close(one, other, **(tolerance or {"rtol": 1e-5, "atol": 1e-6}))


@pytest.mark.parametrize("make", [llama, bert, gpt2])
def test_a_step_in_chunks_is_the_step_on_whole_logits(make: Any, chunk: int) -> None:
    """Value and gradient of every parameter; tied tables, a bias, and a projection that transforms first."""
    names = ("cross_entropy", "kl", "reverse_kl")
    model, teacher = make().eval(), llama(1)
    total, parts, found = step(model, teacher, names, later=True)
    expected_total, expected_parts, expected = step(model, teacher, names, later=False)
    assert_same(total, expected_total)
    assert_same(parts, expected_parts)
    assert found.keys() == expected.keys()
    assert_same(found, expected)


@pytest.mark.parametrize("name", UNIT_LOSSES)
def test_every_loss_of_units_is_itself_in_chunks(name: str, chunk: int) -> None:
    model, teacher = llama(tied=False), llama(1)
    found = step(model, teacher, (name,), later=True)
    expected = step(model, teacher, (name,), later=False)
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other, rtol=2e-5, atol=1e-6)


def test_losses_that_are_no_mean_over_units_read_whole_logits_beside() -> None:
    """`dist` correlates units; both kinds stand in one sum."""
    model, teacher = llama(), llama(1)
    names = ("cross_entropy", "dist", "kl")
    found = step(model, teacher, names, later=True)
    for one, other in zip(found, step(model, teacher, names, later=False), strict=True):
        assert_same(one, other)


def test_a_model_that_bounds_its_logits_is_left_whole() -> None:
    """Gemma's logits are no product of the projection alone."""
    assert run_model(gemma(), batch_of_units(), project_later=True).later is None


def test_a_model_of_other_labels_is_left_whole() -> None:
    class Plain(nn.Module):
        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            return nn.functional.one_hot(input_ids, V).float()

    assert run_model(Plain(), batch_of_units(), project_later=True).later is None


def test_taps_are_read_beside() -> None:
    model, batch = llama(), batch_of_units()
    below = run_model(model, batch, [Tap(HIDDEN, "model.norm")], project_later=True)
    assert isinstance(below.later, Projected)
    assert_same(below.hidden["model.norm"], below.later.hidden)


def test_whoever_reads_logits_gets_them() -> None:
    model, batch = llama(), batch_of_units()
    later, now = (run_model(model, batch, project_later=each) for each in (True, False))
    assert later.logits is later.logits
    assert later.logits.requires_grad
    assert_same(later.logits, now.logits)
    assert later.num_labels == now.num_labels == V
    assert replace(later, mask=~later.mask).logits.shape == now.logits.shape
    assert to_device(later, torch.device("cpu")).later is not None
    # The projection is as it was.
    assert "forward" not in vars(model.lm_head)


def test_looking_at_a_model_changes_nothing_of_a_training() -> None:
    """The first step with dropout draws what it draws without the look; modes stay."""
    model = bert().train()
    model.bert.eval()
    torch.manual_seed(3)
    first = run_model(model, batch_of_units(), project_later=True).logits
    torch.manual_seed(3)
    assert_same(first, run_model(model, batch_of_units()).logits)
    assert model.training
    assert not model.bert.training


def test_autocast_multiplies_in_its_type(chunk: int) -> None:
    model, teacher = llama(), llama(1)
    with torch.autocast("cpu", torch.bfloat16):
        later = run_model(model, batch_of_units(), project_later=True)
        now = run_model(model, batch_of_units())
        with torch.no_grad():
            answers = run_model(teacher, batch_of_units(), project_later=True)
    assert later.later is not None
    assert later.later.dtype == answers.later.dtype == torch.bfloat16
    assert_same(later.logits, now.logits, rtol=0.0, atol=0.0)
    totals, found = [], []
    for student in (later, now):
        total, _ = Objective(terms("cross_entropy", "kl"))(student, answers, batch_of_units(), 0.5)
        total.backward()
        totals.append(total.detach())
        found.append(gradients(model))
    assert_same(*totals)
    for name, gradient in found[0].items():
        distance = (gradient - found[1][name]).norm() / found[1][name].norm()
        assert distance < 0.02, name


@pytest.mark.parametrize("tied", [True, False])
def test_a_quantized_projection_learns_its_step(tied: bool, chunk: int) -> None:
    """LSQ's gradient of its scales, and the error term, which reads what the projection rounded."""
    model = llama(tied=tied).eval()
    batch = batch_of_units()

    def forward(each: nn.Module) -> Outputs:
        return run_model(each, batch)

    prepare_model(model, plan_schemes(model, Quantize(), "uint8"), "lsq", forward)
    calibrate(model, [forward])
    teacher = llama(1)
    model.train()
    outcomes = []
    for later in (True, False):
        student = run_model(model, batch, project_later=later)
        assert (student.later is not None) is later
        with torch.no_grad():
            answers = run_model(teacher, batch)
        total, _ = Objective(terms("cross_entropy", "kl"))(student, answers, batch, 0.5)
        error = squared_error(model)
        (total + error).backward()
        outcomes.append((total.detach(), error.detach(), gradients(model)))
    assert any(name.endswith("quantizer.log_scale") for name in outcomes[0][2])
    for one, other in zip(*outcomes, strict=True):
        assert_same(one, other, rtol=1e-4, atol=1e-6)


def test_no_unit_at_all_is_zero_with_a_gradient_of_zero() -> None:
    batch = batch_of_units()
    nothing = replace(batch, mask=torch.zeros_like(batch.mask))
    total, parts, found = step(
        llama(), llama(1), ("cross_entropy", "kl"), later=True, batch=nothing
    )
    assert total == 0
    assert set(parts) == {"cross_entropy", "kl"}
    assert all((gradient == 0).all() for gradient in found.values())


def test_rows_without_units_have_no_axis_to_fill() -> None:
    batch = batch_of_units()
    none = replace(
        batch,
        positions=batch.positions[:, :0],
        labels=batch.labels[:, :0],
        mask=batch.mask[:, :0],
    )
    total, _, _ = step(llama(), llama(1), ("cross_entropy", "kl"), later=True, batch=none)
    assert total == 0


def operands(
    seed: int, units: int, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((2, units, 3), (7, 3), (7,))
    hidden, weight, bias = (
        torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes
    )
    return hidden.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()


def comparison(names: list[str], teacher: Outputs, mask: Tensor, seed: int) -> Comparison:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(-1, 7, mask.shape, generator=generator)
    batch = Batch({}, None, labels, mask, np.arange(len(mask)))
    losses = [registry.create("losses", name, {}) for name in names]
    counts = [counted(loss, mask, teacher.mask, labels) for loss in losses]
    return Comparison([loss.of_units for loss in losses], counts, mask, teacher, batch, 0.5)


masks = st.lists(st.booleans(), min_size=10, max_size=10)


@settings(max_examples=15)
@given(masks, masks, st.integers(1, 11), st.integers(0, 1000))
def test_any_mask_and_chunk(student: list[bool], teacher: list[bool], size: int, seed: int) -> None:
    """In float64, against one formula on all units; padded units are not computed."""
    own, theirs = (torch.tensor(each).view(2, 5) for each in (student, teacher))
    hidden, weight, bias = operands(seed, 5)
    answers = Outputs(
        torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64),
        theirs,
    )
    names = ["cross_entropy", "kl", "jensen_shannon"]
    compared = comparison(names, answers, own, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(projection, "CHUNK_BYTES", 4 * 7 * size)
        shares = [torch.tensor(each, dtype=torch.float64) for each in (1.0, 0.3, 2.0)]
        total, each = fused_sum(compared, Projected(hidden, weight, bias, torch.float64), shares)
        found = torch.autograd.grad(total, (hidden, weight, bias))
    whole = Outputs(hidden @ weight.T + bias, own)
    expected = [
        registry.create("losses", name, {})(whole, answers, compared.batch, 0.5) for name in names
    ]
    assert_same(torch.stack(each), torch.stack(expected), rtol=1e-10, atol=1e-12)
    combined = sum(share * value for share, value in zip(shares, expected, strict=True))
    wanted = torch.autograd.grad(combined, (hidden, weight, bias))
    assert_same(found, wanted, rtol=1e-9, atol=1e-12)


def test_gradients_are_those_of_differences() -> None:
    mask = torch.tensor([[True, True, False], [True, False, True]])
    answers = Outputs(torch.randn(2, 3, 7, dtype=torch.float64), mask)
    compared = comparison(["kl", "reverse_kl"], answers, mask, 0)
    shares = [torch.tensor(1.5, dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64)]

    def function(*given: Tensor) -> tuple[Tensor, ...]:
        total, each = fused_sum(compared, Projected(*given, torch.float64), shares)
        return total, *each

    assert torch.autograd.gradcheck(function, operands(0, 3))


def test_a_sum_may_be_asked_again_and_its_terms_alone() -> None:
    """The first pass backward gives the gradients away; later ones compute them anew."""
    mask = torch.ones(2, 3, dtype=torch.bool)
    answers = Outputs(torch.randn(2, 3, 7, dtype=torch.float64), mask)
    compared = comparison(["kl", "total_variation"], answers, mask, 0)
    given = operands(1, 3)
    shares = [torch.tensor(2.0), torch.tensor(3.0)]
    total, (kl, variation) = fused_sum(compared, Projected(*given, torch.float64), shares)
    of_kl = torch.autograd.grad(kl, given, retain_graph=True)
    of_sum = torch.autograd.grad(total, given, retain_graph=True)
    again = torch.autograd.grad(total, given, retain_graph=True)
    of_variation = torch.autograd.grad(variation, given, retain_graph=True)
    of_all = torch.autograd.grad(total + 4 * kl, given)
    for number in range(3):
        expected = 2 * of_kl[number] + 3 * of_variation[number]
        assert_same(of_sum[number], expected, rtol=1e-10, atol=1e-12)
        assert_same(again[number], expected, rtol=1e-10, atol=1e-12)
        assert_same(of_all[number], expected + 4 * of_kl[number], rtol=1e-10, atol=1e-12)


def test_the_probe_measures_each_term_as_on_whole_logits(chunk: int) -> None:
    model, teacher, batch = llama(), llama(1), batch_of_units()
    figures = []
    for later in (True, False):
        objective = Objective(terms("cross_entropy", "kl"))
        probe = ConflictProbe(objective, first_layer(model), lambda event: None)
        student = run_model(model, batch, project_later=later)
        with torch.no_grad():
            answers = run_model(teacher, batch, project_later=later)
        total, parts = objective(student, answers, batch, 0.5)
        figures.append(probe(student, answers, parts, 0.5))
        total.backward()
        figures[-1] |= {name: each.norm().item() for name, each in gradients(model).items()}
    assert figures[0] == pytest.approx(figures[1], rel=1e-4)
    assert "pull.kl" in figures[0]


class Wrong(UnitLoss):
    """Gives what it is told to."""

    reads = ("logits",)

    def __init__(self, give: Any) -> None:
        super().__init__()
        self.give = give

    def of_units(self, student: Outputs, teacher: Outputs, batch: Batch, progress: float) -> Tensor:
        return self.give(student)


def write_over(student: Outputs) -> Tensor:
    student.logits.data.mul_(2)
    return student.logits.sum(-1)


@pytest.mark.parametrize(
    ("give", "message"),
    [
        (lambda student: student.logits.mean(), "one float for each unit"),
        (lambda student: student.logits.detach().sum(-1), "no gradient that reaches the student"),
        (write_over, "changes in place"),
    ],
)
def test_a_loss_of_units_that_is_none_is_told(give: Any, message: str) -> None:
    batch = batch_of_units()
    student = run_model(llama(), batch, project_later=True)
    with pytest.raises(ValueError, match=message):
        Objective([Term("mine", schedule(1.0), Wrong(give))])(student, student, batch, 0.0)


def sorted_distance(student: np.ndarray, teacher: np.ndarray) -> float:
    """Equation 6 of arXiv 2402.12030, of one unit's logits."""
    p, q = (np.exp(each) / np.exp(each).sum() for each in (teacher, student))
    p, q = (np.pad(np.sort(each)[::-1], (0, 9 - len(each))) for each in (p, q))
    return float(np.abs(p - q).sum())


@pytest.mark.parametrize("later", [True, False])
@pytest.mark.parametrize(("labels", "units"), [(5, 4), (9, 2), (7, 3), (5, 0)])
def test_models_of_two_tokenizers_meet_by_order(labels: int, units: int, later: bool) -> None:
    """A teacher of `labels` tokens that cuts each of two answers into `units` of them, the student of 7 into 3."""
    generator = torch.Generator().manual_seed(0)
    hidden, weight, _ = operands(0, 3)
    theirs, table = (
        torch.randn(2, units, 3, generator=generator),
        torch.randn(labels, 3, generator=generator),
    )
    mask, other = (
        torch.tensor([[True, True, True], [True, True, False]]),
        torch.ones(2, units, dtype=torch.bool),
    )
    student = Outputs(
        Projected(hidden, weight, None, torch.float64) if later else hidden @ weight.T, mask
    )
    answers = Outputs(
        Projected(theirs, table, None, torch.float32) if later else theirs @ table.T, other
    )
    objective = Objective(terms("universal_logit"))
    batch = Batch({}, None, torch.zeros(2, 3, dtype=torch.long), mask, np.arange(2))
    _, parts = objective(student, answers, batch, 0.5)
    own, their = student.logits.detach().numpy(), answers.logits.numpy()
    expected = [
        sorted_distance(own[row, unit], their[row, unit])
        for row in range(2)
        for unit in range(min(3 - row, units))
    ]
    assert parts["universal_logit"].item() == pytest.approx(np.mean(expected or [0.0]), rel=1e-5)


def test_other_losses_are_refused_for_another_vocabulary() -> None:
    mask = torch.ones(1, 2, dtype=torch.bool)
    student, teacher = Outputs(torch.zeros(1, 2, 7), mask), Outputs(torch.zeros(1, 2, 9), mask)
    batch = Batch({}, None, torch.zeros(1, 2, dtype=torch.long), mask, np.arange(1))
    with pytest.raises(
        ValueError, match=r"`kl` compares .* 7 labels, the teacher 9\. Write `universal_logit"
    ):
        Objective(terms("kl"))(student, teacher, batch, 0.0)


def test_two_vocabularies_are_refused_before_training() -> None:
    """Of the same size too, where a number tells nothing."""
    student, teacher = ["a", "b", "c"], ["a", "x", "c"]
    refuse_other_vocabulary(terms("universal_logit", "cross_entropy"), student, teacher)
    refuse_other_vocabulary(terms("cross_entropy", "kl"), student, list(student))
    with pytest.raises(
        ValueError,
        match=r"losses.kl: .* has 3 tokens and the teacher 3; token 1 is `b` of the student and "
        r"`x` of the teacher. Write `universal_logit",
    ):
        refuse_other_vocabulary(terms("cross_entropy", "kl"), student, teacher)
