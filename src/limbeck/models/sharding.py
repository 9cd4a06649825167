"""A model whose weights are split over the processes of a run, for one that fits no single device.

FSDP2 (`torch.distributed.fsdp.fully_shard`; Zhao et al., 2023, arXiv 2304.11277): each process
holds an n-th of every weight, and gathers the whole of one layer just before it runs. All processes
must run the same forward passes.
"""

from typing import TypeVar

import torch
from torch import nn

from limbeck.models.anatomy.layers import layer_names
from limbeck.models.processes import num_processes

Model = TypeVar("Model", bound=nn.Module)


def shard_model(model: Model, device: torch.device) -> Model:
    """Split the weights of `model` over all processes, in place; each keeps its part on `device`.

    Layers are gathered one by one, and freed as soon as they have run.

    Raises:
        ValueError: there is one process only, and nothing to split over.
    """
    if num_processes() == 1:
        raise ValueError(
            "teacher.placement: sharded: there is one process, and weights are split over several. "
            "Start the run with torchrun --nproc_per_node 2 (or more) -m limbeck run, or leave "
            "`placement` out"
        )
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (num_processes(),))
    # A layer is the unit that is gathered; what is left (embeddings, head) belongs to the whole.
    for name in layer_names(model):
        fully_shard(model.get_submodule(name), mesh=mesh, reshard_after_forward=True)
    fully_shard(model, mesh=mesh, reshard_after_forward=True)
    return model
