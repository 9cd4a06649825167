"""A step that two processes share has the gradients and the moments of one process's step."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from limbeck.distillation.conflict import ConflictProbe, products_of
from limbeck.distillation.objective import Objective, hard_terms
from limbeck.models import processes
from limbeck.models.projection import Projected
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch
from limbeck.training.batches import gathered, rows_of_process

COUNTS = (5, 3)  # rows of each process


def model() -> nn.Module:
    """A convolution, its batch norm, and a head, as they are before the step."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU()]
    layers += [nn.Flatten(), nn.Linear(3 * 4 * 4, 6), nn.BatchNorm1d(6, momentum=None)]
    return nn.Sequential(*layers).double()


def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(sum(COUNTS), 1, 6, 6, dtype=torch.float64, generator=generator)


def loss(outputs: torch.Tensor) -> torch.Tensor:
    """Between rows, so that it is no mean over parts of the batch."""
    return F.cross_entropy(outputs @ outputs.T, torch.arange(len(outputs)))


def state(net: nn.Module) -> dict[str, torch.Tensor]:
    """Gradients, and what batch norms hold."""
    gradients = {
        f"gradient of {name}": parameter.grad
        for name, parameter in net.named_parameters()
        if parameter.grad is not None
    }
    return gradients | dict(net.named_buffers())


def products(net: nn.Module, outputs: torch.Tensor) -> dict[str, torch.Tensor]:
    """What `distill.balance` looks at: two terms' gradients in the first layer, by one another."""
    probe = ConflictProbe(Objective([]), [net.get_parameter("0.weight")], print)
    terms = {"task": loss(outputs), "square": outputs.square().mean()}
    found = products_of({name: probe.gradient(term) for name, term in terms.items()})
    return {f"product of {one} and {other}": value for (one, other), value in found.items()}


def fused_gradients(count: int) -> dict[str, torch.Tensor]:
    """Of a loss over a vocabulary in chunks, whose rows `count` processes read."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 9)).double()
    body, head = net
    assert isinstance(head, nn.Linear)
    labels, mask = torch.arange(14).view(7, 2) % 9, torch.arange(14).view(7, 2) % 5 > 0
    inputs = {"x": torch.randn(7, 2, 3).double()}
    batch = own = Batch(inputs, None, labels, mask, np.arange(7))
    if count > 1:
        own = rows_of_process(batch, processes.process_index(), count)
    projected = Projected(body(own.inputs["x"]), head.weight, head.bias, torch.float64)
    outputs = Outputs(projected, own.mask)
    if count > 1:
        outputs = gathered(outputs, batch, count)
    total, _ = Objective(hard_terms("cross_entropy"))(outputs, outputs, batch, 0.5)
    total.backward()
    processes.average_gradients(list(net.parameters()))
    return {f"fused {name}": each.grad for name, each in net.named_parameters()}


def step_of_one_process(rank: int, out: Path) -> None:
    """What each of the two does: the rank and the address are in the environment."""
    torch.distributed.init_process_group("gloo")
    net = model()
    processes.normalise_over_processes(net)
    own = net(images().split(COUNTS)[rank])
    outputs = processes.gather_rows(own, COUNTS)
    probed = products(net, outputs)
    loss(outputs).backward()
    processes.average_gradients(list(net.parameters()))
    save_file(state(net) | probed | fused_gradients(2), out)
    torch.distributed.destroy_process_group()


def test_a_shared_step_is_the_step_of_one_process(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    outs = [tmp_path / "first.safetensors", tmp_path / "second.safetensors"]
    started = [
        subprocess.Popen(
            [sys.executable, __file__, str(rank), str(out)],
            env={**os.environ, **address, "RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, out in enumerate(outs)
    ]
    for process in started:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    net = model()
    outputs = net(images())
    expected = products(net, outputs)
    loss(outputs).backward()
    expected |= state(net) | fused_gradients(1)
    # Three products; weights and biases of 4 layers; 3 buffers of 2 norms; two layers of the fused.
    assert len(expected) == 3 + 8 + 6 + 4
    for out in outs:
        found = load_file(out)
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            # Moments are taken in float32.
            torch.testing.assert_close(found[name], tensor, atol=1e-6, rtol=1e-6, msg=name)


if __name__ == "__main__":
    step_of_one_process(int(sys.argv[1]), Path(sys.argv[2]))
