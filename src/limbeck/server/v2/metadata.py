"""What a server and its models say of themselves: `GET /v2` and `GET /v2/models/NAME`."""

from collections.abc import Sequence
from typing import Any

import limbeck
from limbeck.server.v2.interface import Interface, TensorSpec

# Of Triton, whose names for them clients look for.
EXTENSIONS = ("binary_tensor_data", "classification", "parameters")


def server_metadata() -> dict[str, Any]:
    """The server's name, version and extensions of the protocol."""
    return {
        "name": "limbeck",
        "version": limbeck.__version__,
        "extensions": list(EXTENSIONS),
    }


def model_metadata(name: str, versions: Sequence[str], interface: Interface) -> dict[str, Any]:
    """What a model takes and gives.

    Inputs come in sets, of which a request sends one: `parameters.set` is the same for inputs that
    belong together, and `parameters.optional` is true for one that may be left out. Beside what the
    protocol asks for there are the task and, where there are some, the labels in their order.
    """
    # All inputs are named, as clients look theirs up by name; that some belong together is said in
    # parameters, which those who do not know them pass over.
    inputs = []
    for number, input_set in enumerate(interface.input_sets):
        for spec in input_set.specs:
            parameters = {"set": number, "optional": spec in input_set.optional}
            inputs.append(tensor_metadata(spec) | {"parameters": parameters})
    told: dict[str, Any] = {
        "name": name,
        "versions": list(versions),
        "platform": interface.platform,
        "inputs": inputs,
        "outputs": [tensor_metadata(spec) for spec in interface.outputs],
        "task": interface.task,
    }
    # In the order of the last dimension of probabilities and logits, which have no names.
    if interface.labels:
        told["labels"] = interface.labels
    return told


def tensor_metadata(spec: TensorSpec) -> dict[str, Any]:
    """A tensor's name, datatype and shape, -1 where that varies."""
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}
