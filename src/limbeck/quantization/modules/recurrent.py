"""LSTM and GRU with quantized weights.

LSTM: Hochreiter and Schmidhuber, 1997. GRU: Cho et al., 2014, arXiv 1406.1078. Every matrix, of
the input and of the hidden state, of each layer and direction, has a grid of its own with a scale
for each output channel, as that of a linear layer.

Activations stay float and so do the products. ONNX's LSTM and GRU are nodes that take float
matrices, and a runtime dequantizes the codes once, when it loads the graph: the file shrinks, and
the layer gets no faster. Quantizing only what it reads would cost accuracy and save nothing.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.quantization.modules.fake import FakeQuantizer
from limbeck.quantization.modules.swap import Quantized


class QuantizedMatrix(Quantized):
    """One matrix (O, D); a forward pass gives it as its codes stand for it."""

    def __init__(
        self,
        weight: nn.Parameter,
        quantizer: FakeQuantizer,
    ) -> None:
        super().__init__(quantizer)
        self.weight = weight

    def forward(self) -> Tensor:
        rounded = self.quantizer(self.weight)
        self.remember(rounded, self.weight)
        return rounded


class QuantizedRecurrence(nn.Module):
    """Takes the place of an LSTM or GRU, and holds its parameters by their names.

    A float one is held as it is, a quantized one as a `QuantizedMatrix`.
    """

    def __init__(self, source: nn.LSTM | nn.GRU) -> None:
        super().__init__()
        self.is_lstm = isinstance(source, nn.LSTM)
        # What computes the layer once it is converted; torch's own function until then.
        self.op: Callable[..., tuple[Tensor, ...]] | None = None
        self.hidden_size = source.hidden_size
        self.num_layers = source.num_layers
        self.bidirectional = source.bidirectional
        self.bias = source.bias
        self.dropout = source.dropout
        self.batch_first = source.batch_first
        self.names: list[str] = []
        for name, parameter in source.named_parameters():
            self.names.append(name)
            self.register_parameter(name, parameter)

    def flatten_parameters(self) -> None:
        """Do nothing. Models call it so that a GPU finds all parameters in one piece.

        Matrices that are made anew in every forward pass lie where they are made.
        """

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """As torch's layer, of x (B, T, D), or (T, B, D) without `batch_first`.

        Raises:
            ValueError: x has another shape, or is a packed sequence.
        """
        if not isinstance(x, Tensor) or x.ndim != 3:
            raise ValueError(
                "quantize: an LSTM or GRU reads a packed sequence, or one without rows. "
                "Pad it to (B, T, D), or name it in `keep_float`"
            )
        # torch's functions, unlike its modules, want a state.
        if state is None:
            state = self.first_state(x)
        weights = self.weights()
        if self.op is None:
            compute = torch.lstm if self.is_lstm else torch.gru
            y, *last = compute(
                x,
                state,
                weights,
                self.bias,
                self.num_layers,
                self.dropout,
                self.training,
                self.bidirectional,
                self.batch_first,
            )
        else:
            form = [self.bias, self.num_layers, self.bidirectional, self.batch_first]
            # An op of the dispatcher takes a list of tensors, never now one and now two.
            states = [*state] if self.is_lstm else [state]
            y, *last = self.op(x, states, weights, form)
        return y, tuple(last) if self.is_lstm else last[0]

    def first_state(self, x: Tensor) -> Any:
        """Zeros: (layers x directions, B, hidden), twice for an LSTM."""
        # On the device and in the type of x.
        num_rows = x.shape[0] if self.batch_first else x.shape[1]
        num_directions = 2 if self.bidirectional else 1
        zeros = x.new_zeros(
            self.num_layers * num_directions,
            num_rows,
            self.hidden_size,
        )
        return (zeros, zeros) if self.is_lstm else zeros

    def weights(self) -> list[Tensor]:
        """Every parameter in torch's order, quantized ones rounded."""
        # The functions know matrices and biases by their order alone.
        weights = []
        for name in self.names:
            held = getattr(self, name)
            weights.append(held() if isinstance(held, nn.Module) else held)
        return weights
