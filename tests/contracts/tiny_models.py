"""Random models for the tests of this folder: small, with weights that every layer's output depends on."""

import torch
from torch import nn

from limbeck.core import registry


def bert(vocabulary: int = 60, hidden: int = 32, layers: int = 2, labels: int = 5) -> nn.Module:
    """A BertForTokenClassification with biases and norms off their starting values, in eval mode."""
    from transformers import BertConfig, BertForTokenClassification

    config = BertConfig(
        vocab_size=vocabulary, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=2 * hidden,
        max_position_embeddings=64, num_labels=labels, attn_implementation="eager", initializer_range=0.15,
    )  # fmt: skip
    torch.manual_seed(0)
    return stirred(BertForTokenClassification(config))


def cnn(width: int = 4, depth: int = 1, labels: int = 5) -> nn.Module:
    """The house's small_cnn with its norms off their starting values, in eval mode."""
    torch.manual_seed(0)
    return stirred(
        registry.create("networks", "small_cnn", {"width": width, "depth": depth}).build(labels, 1)
    )


def stirred(model: nn.Module) -> nn.Module:
    """Vectors moved by noise, running variances kept positive."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.ndim == 1 and tensor.is_floating_point():
                noise = 0.2 * torch.randn(tensor.shape, generator=generator)
                tensor.copy_(0.5 + noise.abs() if name.endswith("running_var") else tensor + noise)
    return model.eval()


def tokens(rows: int, length: int, vocabulary: int = 60, seed: int = 0) -> dict[str, torch.Tensor]:
    """Ids and a mask that hides the end of every row but the first."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, vocabulary, (rows, length), generator=generator)
    mask = torch.ones_like(ids)
    mask[1:, length - length // 3 :] = 0
    return {"input_ids": ids, "attention_mask": mask}


def pixels(rows: int, side: int = 8, seed: int = 0) -> dict[str, torch.Tensor]:
    return {
        "pixel_values": torch.randn(
            rows, 1, side, side, generator=torch.Generator().manual_seed(seed)
        )
    }


def logits(model: nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        result = model(**inputs)
    return result if isinstance(result, torch.Tensor) else result.logits
