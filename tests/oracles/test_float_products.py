"""What a quantized model still multiplies in floats, by call: functional weights, layers kept float, torch's own attention."""

import torch
from torch import nn
from torch.nn import functional

from limbeck.analysis.float_products import float_products, in_words
from limbeck.quantization.after_training import calibrate
from limbeck.quantization.plan import plan_schemes
from limbeck.quantization.prepare import prepare_model
from limbeck.recipe.model import Quantize


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)
        self.past = nn.Linear(8, 8)
        self.kept = nn.Conv1d(8, 8, 1)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.mixer = nn.Parameter(torch.randn(8, 8))
        self.recurrent = nn.GRU(8, 8, batch_first=True)
        self.positions = nn.Parameter(torch.randn(4, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer(self.layer(x)) + self.positions
        for _ in range(2):
            x = functional.linear(x, self.past.weight, self.past.bias)
        x = self.kept(x.transpose(1, 2)).transpose(1, 2) @ self.mixer
        x = self.attention(x, x, x, need_weights=False)[0]
        return self.recurrent(x)[0]  # type: ignore[no-any-return]


def test_products_are_counted_by_call_whoever_asks_for_them() -> None:
    torch.manual_seed(0)
    model = Mixed().eval()
    x = torch.randn(1, 4, 8)
    schemes = plan_schemes(model, Quantize(keep_float=["kept"]), "uint8")
    prepare_model(model, schemes, "minmax", lambda each: each(x))
    calibrate(model, [lambda each: each(x)])
    found = float_products(model.train(), lambda each: each(x))
    assert model.training
    # Of what is quantized (`layer`, `recurrent`) and only added (`positions`) there is none.
    assert found == {
        "past.weight": 2,
        "kept.weight": 1,
        "mixer": 1,
        "attention.in_proj_weight": 1,
        "attention.out_proj.weight": 1,
    }
    assert in_words(found).startswith("6 products a row, with past.weight, kept.weight, mixer")
    before = float_products(Mixed().eval(), lambda each: each(x))
    assert before["layer.weight"] == 2
    assert {name for name in before if name.startswith("recurrent")}
