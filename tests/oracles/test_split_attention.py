"""torch's attention layer split into linear layers: equal to torch's own on every argument, in double precision."""

from typing import Any

import pytest
import torch
from torch import nn

from limbeck.models.anatomy.split_attention import SplitAttention, split_attention
from limbeck.models.user_model import Own

WIDTH, HEADS, ROWS, ASKING, ASKED = 12, 4, 4, 5, 7
GENERATOR = torch.Generator().manual_seed(0)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=GENERATOR, dtype=torch.float64)


def layer(**settings: Any) -> nn.MultiheadAttention:
    torch.manual_seed(0)
    made = nn.MultiheadAttention(WIDTH, HEADS, dtype=torch.float64, **settings)
    for parameter in made.parameters():
        nn.init.normal_(parameter)
    return made.eval()


PADDING = torch.arange(ASKED) >= torch.tensor([[7], [3], [5], [1]])
CAUSAL = torch.arange(ASKED) > torch.arange(ASKING).unsqueeze(1)
OF_HEADS = drawn(ROWS * HEADS, ASKING, ASKED)


@pytest.mark.parametrize("settings", [{}, {"bias": False}, {"kdim": 6, "vdim": 9}], ids=str)
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"need_weights": False},
        {"average_attn_weights": False},
        {"key_padding_mask": PADDING},
        {"key_padding_mask": drawn(ROWS, ASKED), "need_weights": False},
        {"attn_mask": CAUSAL, "is_causal": True, "need_weights": False},
        {"attn_mask": drawn(ASKING, ASKED)},
        {"attn_mask": OF_HEADS, "key_padding_mask": PADDING.double()},
    ],
    ids=lambda value: "-".join(value) or "none",
)
def test_the_split_layer_answers_as_torch_s(
    settings: dict[str, Any], batch_first: bool, arguments: dict[str, Any]
) -> None:
    whole = layer(batch_first=batch_first, **settings)
    inputs = [
        drawn(ROWS, ASKING, WIDTH),
        drawn(ROWS, ASKED, whole.kdim),
        drawn(ROWS, ASKED, whole.vdim),
    ]
    if not batch_first:
        inputs = [value.transpose(0, 1) for value in inputs]
    expected, expected_weights = whole(*inputs, **arguments)
    found, weights = SplitAttention(whole)(*inputs, **arguments)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    if expected_weights is None:
        assert weights is None
    else:
        torch.testing.assert_close(weights, expected_weights, atol=1e-12, rtol=0)


def test_one_row_without_an_axis_of_rows() -> None:
    whole = layer()
    x = drawn(ASKED, WIDTH)
    for arguments in ({}, {"key_padding_mask": PADDING[1]}, {"attn_mask": drawn(ASKED, ASKED)}):
        expected = whole(x, x, x, **arguments)
        for found, value in zip(SplitAttention(whole)(x, x, x, **arguments), expected, strict=True):
            torch.testing.assert_close(found, value, atol=1e-12, rtol=0)


def test_arguments_by_place_and_of_no_such_name() -> None:
    whole = layer(batch_first=True)
    split = SplitAttention(whole)
    x = drawn(ROWS, ASKED, WIDTH)
    torch.testing.assert_close(split(x, x, x, PADDING, False)[0], whole(x, x, x, PADDING, False)[0])
    with pytest.raises(TypeError, match=r"attention takes key_padding_mask, .*, not mask"):
        split(x, x, x, mask=PADDING)


def test_gradients_are_those_of_the_whole_layer() -> None:
    whole = layer(batch_first=True)
    split = SplitAttention(whole)
    x = drawn(ROWS, ASKED, WIDTH)
    for each in (whole, split):
        each(x, x, x)[0].square().sum().backward()
    projections = (split.q_proj, split.k_proj, split.v_proj)
    for kind in ("weight", "bias"):
        gradients = [getattr(each, kind).grad for each in projections]
        expected = getattr(whole, f"in_proj_{kind}").grad
        torch.testing.assert_close(torch.cat(gradients), expected, atol=1e-10, rtol=0)
    torch.testing.assert_close(split.out_proj.weight.grad, whole.out_proj.weight.grad)


def test_encoders_and_decoders_of_torch_are_split_and_answer_as_before() -> None:
    torch.manual_seed(0)
    module = nn.Transformer(
        WIDTH, HEADS, 2, 2, 16, dropout=0.0, batch_first=True, dtype=torch.float64
    ).eval()
    source, target = drawn(ROWS, ASKED, WIDTH), drawn(ROWS, ASKING, WIDTH)
    masks = {
        "src_key_padding_mask": PADDING,
        "tgt_mask": CAUSAL[:, :ASKING],
        "tgt_is_causal": True,
        "memory_key_padding_mask": PADDING,
    }
    before = torch.random.get_rng_state()
    own = Own(module).create()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.testing.assert_close(
        own(source, target, **masks), module(source, target, **masks), atol=1e-12, rtol=0
    )
    assert not any(isinstance(each, nn.MultiheadAttention) for each in own.modules())
    own.train()(source, target, **masks).sum().backward()


class Derived(nn.MultiheadAttention):
    pass


def test_what_the_split_form_does_not_compute_stays_whole() -> None:
    tied = nn.ModuleList([layer(), layer()])
    tied[1].in_proj_weight = tied[0].in_proj_weight
    for module in (
        nn.ModuleList([layer(add_zero_attn=True), layer(add_bias_kv=True)]),
        nn.ModuleList([Derived(WIDTH, HEADS)]),
        tied,
    ):
        split_attention(module)
        assert all(isinstance(each, nn.MultiheadAttention) for each in module)
    twice = layer()
    shared = split_attention(nn.ModuleList([twice, twice]))
    assert shared[0] is shared[1] and isinstance(shared[0], SplitAttention)  # type: ignore[index]


def test_a_frozen_layer_stays_frozen() -> None:
    whole = layer().requires_grad_(False)
    assert not any(each.requires_grad for each in SplitAttention(whole).parameters())
