"""Quantized modules on another device: the numbers of a CPU, and no training step that waits for the device."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from probe_device import Probe, ProbeTensor
from torch import nn
from torch.nn import functional

from limbeck.models.weights import model_state, restore_state
from limbeck.quantization.after_training import calibrate
from limbeck.quantization.conversion import convert_model
from limbeck.quantization.health import Examination
from limbeck.quantization.modules import attention
from limbeck.quantization.modules.fake import FakeQuantizer, squared_bounds
from limbeck.quantization.modules.swap import squared_error
from limbeck.quantization.plan import plan_schemes
from limbeck.quantization.prepare import prepare_model
from limbeck.quantization.progressive import Progressive
from limbeck.recipe.model import Quantize

Inputs = dict[str, torch.Tensor]


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


IDS = torch.randint(0, 20, (3, 7), generator=torch.Generator().manual_seed(0))


class Recurrent(nn.Module):
    """Two layers, both ways, and what reads their last output."""

    def __init__(self) -> None:
        super().__init__()
        self.core = nn.LSTM(6, 4, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self.head(self.core(input)[0][:, -1])


def bert() -> nn.Module:
    from transformers import BertConfig, BertForTokenClassification

    config = BertConfig(
        vocab_size=20,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
        num_labels=3,
        attn_implementation="eager",
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return BertForTokenClassification(config)


def residual() -> nn.Module:
    """A convolution with its batch norm and ReLU6, and another that reads what they make."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU6(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 3, 3),
    )


CASES: dict[str, tuple[Callable[[], nn.Module], Inputs, dict[str, Any]]] = {
    "linear": (
        lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)),
        {"input": drawn(5, 6)},
        {},
    ),
    "linear, clipping bounds": (
        lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)),
        {"input": drawn(5, 6)},
        {"range": "pact"},
    ),
    "linear, learned offsets": (
        lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)),
        {"input": drawn(5, 6)},
        {"range": "lsq_plus"},
    ),
    "linear, dynamic": (
        lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)),
        {"input": drawn(5, 6)},
        {"activations": "uint8-dynamic"},
    ),
    "embedding": (
        lambda: nn.Sequential(nn.Embedding(20, 8), nn.Linear(8, 3)),
        {"input": IDS},
        {"weights": "int4", "group": 4, "activations": "float"},
    ),
    "conv + batch norm": (residual, {"input": drawn(4, 2, 8, 8)}, {}),
    "LSTM": (Recurrent, {"input": drawn(3, 5, 6)}, {}),
    "attention": (
        bert,
        {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)},
        {"attention": "uint8"},
    ),
}
cases = pytest.mark.parametrize("case", CASES)


def lstm_of_small_operators(
    x: torch.Tensor, state: Any, weights: list[torch.Tensor], *settings: Any
) -> tuple[torch.Tensor, ...]:
    """torch's LSTM, with biases, both ways and rows first: its own fused cell has no CPU kernel, so the probe cannot run it."""
    layers, hidden, last, cells = settings[1], state[0], [], []
    for layer in range(layers):
        ways = []
        for way in range(2):
            index = 2 * layer + way
            w_x, w_h, b_x, b_h = weights[4 * index : 4 * index + 4]
            h, c, outputs = hidden[index], state[1][index], []
            steps = x.unbind(1) if way == 0 else x.flip(1).unbind(1)
            for step in steps:
                gates = functional.linear(step, w_x, b_x) + functional.linear(h, w_h, b_h)
                i, f, g, o = gates.chunk(4, 1)
                c = f.sigmoid() * c + i.sigmoid() * g.tanh()
                h = o.sigmoid() * c.tanh()
                outputs.append(h)
            joined = torch.stack(outputs, 1)
            ways.append(joined if way == 0 else joined.flip(1))
            last.append(h)
            cells.append(c)
        x = torch.cat(ways, 2)
    return x, torch.stack(last), torch.stack(cells)


@pytest.fixture(autouse=True)
def lstm_that_the_probe_can_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "lstm", lstm_of_small_operators)
    monkeypatch.setattr(torch._VF, "lstm", lstm_of_small_operators)


TORCH_LSTM = torch.lstm


def test_the_lstm_of_small_operators_is_torch_s() -> None:
    weights = [*Recurrent().core.parameters()]
    state = (drawn(4, 3, 4), drawn(4, 3, 4) + 1)
    given = (drawn(3, 5, 6), state, weights, True, 2, 0.0, True, True, True)
    for found, expected in zip(lstm_of_small_operators(*given), TORCH_LSTM(*given), strict=True):
        torch.testing.assert_close(found, expected)


def answer(model: nn.Module, inputs: Inputs) -> torch.Tensor:
    result = model(*inputs.values()) if "input" in inputs else model(**inputs)
    return result if isinstance(result, torch.Tensor) else result.logits


def on(device: Any, inputs: Inputs) -> Inputs:
    return {name: tensor.to(device) for name, tensor in inputs.items()}


def bare(tensor: torch.Tensor) -> torch.Tensor:
    """The numbers, on the CPU."""
    tensor = tensor.detach()
    return tensor.raw if isinstance(tensor, ProbeTensor) else tensor


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: bare(tensor).clone() for name, tensor in model_state(model).items()}


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-6, rtol=1e-5, msg=name)


def calibrated(case: str, device: Any, **changed: Any) -> tuple[nn.Module, Inputs]:
    """A model that lies on `device`, swapped and calibrated there."""
    build, inputs, keys = CASES[case]
    torch.manual_seed(0)
    model, inputs = build().to(device).eval(), on(device, inputs)
    keys = keys | changed
    activations, products = keys.pop("activations", "uint8"), keys.pop("attention", "float")
    settings = Quantize(range=keys.pop("range", "lsq"), **keys)
    schemes = plan_schemes(model, settings, activations)
    prepare_model(model, schemes, settings.range_name, lambda m: answer(m, inputs))
    if products == "uint8":
        attention.attach(model, settings.range_name, lambda m: answer(m, inputs))
    calibrate(model, [lambda m: answer(m, inputs)])
    return model, inputs


def step(model: nn.Module, inputs: Inputs) -> torch.Tensor:
    """A training step with both penalties; its loss."""
    model.train()
    loss = answer(model, inputs).square().mean()
    loss = loss + 0.1 * squared_error(model) + 1e-3 * squared_bounds(model)
    loss.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 0.01 * parameter.grad
                parameter.grad = None
    return loss


@cases
def test_a_model_is_calibrated_trained_and_converted_as_on_a_cpu(case: str, probe: Probe) -> None:
    expected, cpu_inputs = calibrated(case, "cpu")
    found, inputs = calibrated(case, probe.device)
    assert {tensor.device.type for tensor in model_state(found).values()} == {probe.device.type}
    assert_same(state(found), state(expected))
    with torch.no_grad():
        torch.testing.assert_close(bare(answer(found, inputs)), answer(expected, cpu_inputs))
    for _ in range(2):
        loss = step(found, inputs)
        assert loss.device.type == probe.device.type
        torch.testing.assert_close(bare(loss), step(expected, cpu_inputs).detach())
    assert_same(state(found), state(expected))
    integers, cpu_integers = convert_model(found), convert_model(expected)
    assert_same(state(integers), state(cpu_integers))
    with torch.no_grad():
        result = answer(integers, inputs)
        torch.testing.assert_close(bare(result), answer(cpu_integers, cpu_inputs))


@cases
def test_no_training_step_waits_for_the_device(case: str, probe: Probe) -> None:
    model, inputs = calibrated(case, probe.device)
    # Whether a quantizer is calibrated is asked once after calibration, and kept.
    step(model, inputs)
    probe.syncs.clear()
    step(model, inputs)
    step(model.eval(), inputs)
    # Whether a row is padded, transformers asks in every forward.
    own = [place for place in probe.syncs if "masking_utils.py" not in place]
    assert own == []


@cases
def test_a_restored_model_knows_that_it_is_calibrated(case: str, probe: Probe) -> None:
    """What is kept on the host follows what a checkpoint puts in place, and what a copy holds."""
    model, inputs = calibrated(case, probe.device)
    model.eval()
    with torch.no_grad():
        quantized = bare(answer(model, inputs)).clone()
        tensors = {name: tensor.clone() for name, tensor in model_state(model).items()}
        for module in model.modules():
            if isinstance(module, FakeQuantizer):
                module.calibrated.fill_(False)
        in_float = bare(answer(model, inputs)).clone()
        assert not torch.equal(quantized, in_float)
        copied = copy.deepcopy(model)
        restore_state(model, tensors)
        assert torch.equal(bare(answer(model, inputs)), quantized)
        assert torch.equal(bare(answer(copied, inputs)), in_float)
        restore_state(copied, tensors)
        assert torch.equal(bare(answer(copied, inputs)), quantized)


def test_steps_between_switches_do_not_wait(probe: Probe) -> None:
    model, inputs = calibrated("linear", probe.device, weights="int2")
    settings = Quantize(range="lsq", weights="int2", progressive=["int8", "int4"])
    listener = Progressive(settings, model, lambda: calibrate(model, [lambda m: answer(m, inputs)]))
    waits = []
    for number in range(9):
        listener(number, 9)
        step(model, inputs)
        waits.append(len(probe.syncs))
        probe.syncs.clear()
    assert [index for index, count in enumerate(waits) if count] == [0, 3, 6]


def test_health_is_read_at_once_for_all_places(probe: Probe) -> None:
    """One wait for scales and one for codes, however many quantizers there are."""
    told: list[Any] = []
    model, inputs = calibrated("attention", probe.device)
    examine = Examination(model, lambda m: answer(m, inputs), told.append)
    examine()
    probe.syncs.clear()
    examine()
    assert told == []
    assert len([place for place in probe.syncs if "masking_utils.py" not in place]) == 2
