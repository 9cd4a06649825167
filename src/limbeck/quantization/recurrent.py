"""LSTM (Hochreiter and Schmidhuber, 1997) and GRU (Cho et al., 2014, arXiv 1406.1078) with quantized weights: every matrix, of the input and of the
hidden state, of each layer and direction, on a grid of its own with a scale an output channel, as those of a linear layer.

Activations stay float and so do the products: ONNX's LSTM and GRU are nodes that take float matrices, and a runtime dequantizes the codes once, when
it loads the graph. The file shrinks; the layer gets no faster. Quantizing only what it reads would cost accuracy and save nothing.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from limbeck.quantization.fake import FakeQuantizer
from limbeck.quantization.swap import Quantized


class QuantizedMatrix(Quantized):
    """One matrix; a forward gives it as its codes stand for it."""

    def __init__(self, weight: nn.Parameter, quantizer: FakeQuantizer) -> None:
        super().__init__(quantizer)
        self.weight = weight

    def forward(self) -> torch.Tensor:
        rounded = self.quantizer(self.weight)
        self.remember(rounded, self.weight)
        return rounded


class QuantizedRecurrence(nn.Module):
    """Takes the place of an LSTM or GRU, and holds its parameters by their names: a float one as it is, a quantized one as a `QuantizedMatrix`."""

    def __init__(self, source: nn.LSTM | nn.GRU) -> None:
        super().__init__()
        self.is_lstm = isinstance(source, nn.LSTM)
        self.op: Callable[..., tuple[torch.Tensor, ...]] | None = (
            None  # what computes it once it is converted
        )
        self.hidden_size, self.num_layers, self.bidirectional = (
            source.hidden_size,
            source.num_layers,
            source.bidirectional,
        )
        self.bias, self.dropout, self.batch_first = source.bias, source.dropout, source.batch_first
        self.names = [name for name, _ in source.named_parameters()]
        for name, parameter in source.named_parameters():
            self.register_parameter(name, parameter)

    def flatten_parameters(self) -> None:
        """Models call it for the sake of GPUs; matrices that are made anew in every forward lie as they lie."""

    def forward(self, x: torch.Tensor, state: Any = None) -> tuple[torch.Tensor, Any]:
        """As torch's, of x (B, T, D), or (T, B, D) without `batch_first`. Raises ValueError for other shapes."""
        if not isinstance(x, torch.Tensor) or x.ndim != 3:
            raise ValueError(
                "quantize: an LSTM or GRU reads a packed sequence, or one without rows. Pad it to (B, T, D), or name it in `keep_float`"
            )
        if state is None:
            zeros = x.new_zeros(
                self.num_layers * (1 + self.bidirectional),
                x.shape[int(not self.batch_first)],
                self.hidden_size,
            )
            state = (zeros, zeros) if self.is_lstm else zeros
        weights = [
            held() if isinstance(held, nn.Module) else held
            for held in map(self.__getattr__, self.names)
        ]
        if self.op is None:
            settings = (
                self.bias,
                self.num_layers,
                self.dropout,
                self.training,
                self.bidirectional,
                self.batch_first,
            )
            y, *last = (torch.lstm if self.is_lstm else torch.gru)(x, state, weights, *settings)
        else:
            form = [self.bias, self.num_layers, self.bidirectional, self.batch_first]
            y, *last = self.op(x, [*state] if self.is_lstm else [state], weights, form)
        return y, tuple(last) if self.is_lstm else last[0]
