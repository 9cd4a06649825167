"""Every real component of the upper floor reads alike, and CONTRIBUTING's loss works as printed."""

import sys
from pathlib import Path

import pytest
import torch
from test_registry import GROUND_FAMILIES, GUIDE, check_components_read_alike

import limbeck
from limbeck import losses
from limbeck.core import registry
from limbeck.models.taps import Outputs


@pytest.mark.parametrize(
    "family", [name for name in registry.FAMILIES if name not in GROUND_FAMILIES]
)
def test_every_component_reads_alike(family: str) -> None:
    check_components_read_alike(family)


def test_a_torch_module_without_a_constructor_has_no_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import torch\nfrom limbeck.losses import PlainLoss\n\n\nclass Bare(torch.nn.Module, PlainLoss):\n    reads = ()\n"
    (tmp_path / "bare.py").write_text(code, encoding="utf-8")
    monkeypatch.setattr(losses, "__path__", [*losses.__path__, str(tmp_path)])
    assert type(registry.create("losses", "bare")).__name__ == "Bare"


def test_the_guides_loss_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = GUIDE.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    (tmp_path / "losses").mkdir()
    (tmp_path / "losses" / "hellinger.py").write_text(code, encoding="utf-8")
    monkeypatch.setattr(limbeck, "__path__", [*limbeck.__path__, str(tmp_path)])
    monkeypatch.setattr(losses, "__path__", [*losses.__path__, str(tmp_path / "losses")])
    monkeypatch.delitem(sys.modules, "limbeck.losses.hellinger", raising=False)
    assert "hellinger" in registry.names("losses")
    logits = torch.tensor([[[2.0, 0.0], [0.0, 3.0]]]).log_softmax(-1)
    mask = torch.tensor([[True, False]])
    loss = registry.create("losses", "hellinger")
    assert loss(Outputs(logits, mask), Outputs(logits, mask), None, 0.5).item() == pytest.approx(
        0, abs=1e-6
    )
    p, q = logits[0, 0].exp(), torch.tensor([0.25, 0.75])
    expected = 1 - (p * q).sqrt().sum()
    other = q.log().expand(1, 2, 2)
    assert loss(Outputs(other, mask), Outputs(logits, mask), None, 0.5).item() == pytest.approx(
        expected.item(), abs=1e-6
    )
