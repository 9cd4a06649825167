"""Two that learn together: each one's gradient against its own line of the formula, the share of the training in which the teacher learns, whole runs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from limbeck import run
from limbeck.core import registry
from limbeck.core.files import file_digest
from limbeck.core.schedules import schedule
from limbeck.distillation.objective import Objective, Term
from limbeck.losses.mutual import Mutual
from limbeck.models.running import run_model as outputs_of
from limbeck.models.taps import Outputs
from limbeck.recipe.reading import parse
from limbeck.tasks import UNKNOWN, Batch

B, V, T = 6, 4, 2.0
PIXELS = torch.randn(B, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
MASK = torch.ones(B, 1, dtype=torch.bool)
LABELS = torch.tensor([[0], [1], [2], [3], [UNKNOWN], [1]])
BATCH = Batch({"pixel_values": PIXELS}, None, LABELS, MASK, np.arange(B))
RECIPE = """
task: image-classification
data: {source: sklearn, dataset: digits}
teacher: {model: small_cnn, width: 6, epochs: 2}
student: {model: small_cnn, width: 4}
train: {epochs: 2, learning_rate: 4.0e-3, threads: 1}
distill: {losses: {mutual: {temperature: 2.0}}}
"""


class Linear(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layer = nn.Linear(5, V, dtype=torch.float64)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.layer(pixel_values)


def pair(learns: float = 1.0) -> tuple[Mutual, Linear, Linear]:
    loss, student, peer = Mutual(temperature=T, learns=learns), Linear(1), Linear(2)
    loss.bind_peer(peer, registry.create("losses", "cross_entropy"))
    return loss, student, peer


def kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """T^2 KL(p || q) of (B, V) logits, the mean over rows."""
    log_p, log_q = (p / T).log_softmax(-1), (q / T).log_softmax(-1)
    return T**2 * sum((log_p[b].exp() * (log_p[b] - log_q[b])).sum() for b in range(B)) / B


def test_each_learns_by_its_own_line_and_holds_the_other_still() -> None:
    loss, student, peer = pair()
    value = loss(outputs_of(student, BATCH), Outputs(torch.zeros(B, 1, V), MASK), BATCH, 0.5)
    value.backward()
    own, theirs = Linear(1), Linear(2)
    q, p = own(PIXELS), theirs(PIXELS)
    known = [b for b in range(B) if LABELS[b, 0] != UNKNOWN]
    hard = sum(-p.log_softmax(-1)[b, LABELS[b, 0]] for b in known) / len(known)
    lines = kl(p.detach(), q), hard + kl(q.detach(), p)
    sum(lines).backward()  # type: ignore[union-attr]
    assert value.item() == pytest.approx(sum(lines).item(), rel=1e-5)
    for found, wanted in ((student, own), (peer, theirs)):
        torch.testing.assert_close(
            found.layer.weight.grad, wanted.layer.weight.grad, rtol=1e-4, atol=1e-6
        )


def test_after_its_share_the_teacher_stands_still() -> None:
    loss, student, peer = pair(learns=0.4)
    objective = Objective([Term("mutual", schedule(1.0), loss)])
    given = Outputs(torch.zeros(B, 1, V), MASK)
    objective(outputs_of(student, BATCH), given, BATCH, 0.39)[0].backward()
    assert peer.layer.weight.grad is not None and peer.training
    peer.layer.weight.grad = None
    total, _ = objective(outputs_of(student, BATCH), given, BATCH, 0.4)
    total.backward()
    assert peer.layer.weight.grad is None and not peer.training
    assert total.item() == pytest.approx(kl(peer(PIXELS), student(PIXELS)).item(), rel=1e-5)


@pytest.mark.slow
def test_a_run_leaves_the_teacher_as_it_was_and_the_copy_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache"))
    report = run(parse(RECIPE), tmp_path / "run")
    assert not [stage for stage in report["stages"] if stage["name"] == "label"]
    assert '"mutual"' in (tmp_path / "run" / "metrics.jsonl").read_text()
    assert report["arms"]["kd"]["parameters"] < report["arms"]["teacher"]["parameters"]
    half = run(parse(RECIPE, overrides=["distill.losses.mutual.learns=0.5"]), tmp_path / "half")
    assert half["arms"]["teacher"]["mean"] == report["arms"]["teacher"]["mean"]
    frozen = run(parse(RECIPE, overrides=["distill.losses.mutual.learns=0"]), tmp_path / "frozen")
    kept = {
        name: file_digest(tmp_path / name / "model" / "model.safetensors")
        for name in ("run", "half", "frozen")
    }
    assert len(set(kept.values())) == 3
    assert frozen["arms"]["kd"]["mean"]["accuracy"] > 0.3


def test_beside_a_frozen_teacher_both_answer(tmp_path: Path) -> None:
    report = run(
        parse(RECIPE, overrides=["distill.losses={mutual: {weight: 0.5}, kl: {}}"]),
        tmp_path / "run",
    )
    assert [stage for stage in report["stages"] if stage["name"] == "label"]
    curve = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert '"mutual"' in curve and '"kl"' in curve and '"agreement"' in curve
