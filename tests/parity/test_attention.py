"""These tests compare MultiHeadAttention with PyTorch's, whose masks are True where a position is
left out.
"""

import numpy as np
import pytest
import torch
from torch import nn as tn

import minidl as md
from minidl import nn
from tests.support.parity import assert_close, both_floats, draw, torch_type

N, L, S, FEATURES, HEADS = 3, 5, 6, 12, 4
PAIRS = (draw("pairs", (L, S)) > -0.8) | (np.arange(S) == 0)  # at least one key for each query
LENGTHS = np.arange(S) < np.array([6, 2, 4])[:, None]
SQUARE = np.arange(L) <= np.arange(L)[:, None]


def pair(dtype, **options):
    """Return our layer and PyTorch's, with the same weights."""
    layer = nn.MultiHeadAttention(FEATURES, HEADS, **options).astype(dtype)
    for name, p in layer.named_parameters():
        p.data[...] = draw(name, p.shape, dtype, -0.5, 0.5)
    sizes = {"key_features": "kdim", "value_features": "vdim"}
    module = tn.MultiheadAttention(
        FEATURES,
        HEADS,
        batch_first=True,
        **{sizes.get(name, name): value for name, value in options.items()},
    ).to(torch_type(dtype))
    parts = (layer.query, layer.key, layer.value)
    state = {"out_proj.weight": layer.output.weight.data.T}
    if "key_features" in options:
        state |= {
            f"{name}_proj_weight": part.weight.data.T
            for name, part in zip("qkv", parts, strict=True)
        }
    else:
        state["in_proj_weight"] = np.concatenate([part.weight.data.T for part in parts])
    if layer.output.bias is not None:
        state |= {
            "in_proj_bias": np.concatenate([part.bias.data for part in parts]),
            "out_proj.bias": layer.output.bias.data,
        }
    module.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in state.items()})
    return layer, module


def agree(layer, module, arrays, ours, theirs):
    """Check that outputs, gradients of the inputs and of all weights agree."""
    mine = [md.tensor(a, requires_grad=True) for a in arrays]
    other = [torch.from_numpy(a.copy()).requires_grad_() for a in arrays]
    given = other * 3 if len(other) == 1 else other
    y = layer(*mine, **ours)
    expected, _ = module(*given, need_weights=False, **theirs)
    assert_close(y.data, expected.detach().numpy(), "output")
    dy = draw("dy", y.shape, y.dtype)
    layer.zero_grad()
    y.backward(dy)
    expected.backward(torch.from_numpy(dy))
    for a, b in zip(mine, other, strict=True):
        assert_close(a.grad, b.grad.numpy(), "gradient of an input")
    parts = (layer.query, layer.key, layer.value)
    assert_close(layer.output.weight.grad, module.out_proj.weight.grad.numpy().T, "output.weight")
    if module.in_proj_weight is not None:
        assert_close(
            np.concatenate([part.weight.grad.T for part in parts]),
            module.in_proj_weight.grad.numpy(),
            "weights",
        )
    else:
        for name, part in zip("qkv", parts, strict=True):
            assert_close(part.weight.grad, getattr(module, f"{name}_proj_weight").grad.numpy().T)
    if layer.output.bias is not None:
        theirs_bias = module.in_proj_bias.grad.numpy()
        got = np.concatenate([part.bias.grad for part in parts])
        # The gradient of the keys' bias is 0, since it adds the same to all scores of a query.
        bound = np.abs(theirs_bias).max() * (1e-4 if got.dtype == np.float32 else 1e-10)
        assert np.abs(got - theirs_bias).max() < bound


@pytest.mark.parametrize("options", [{}, {"bias": False}], ids=["bias", "no bias"])
@pytest.mark.parametrize("causal", [False, True])
@both_floats
def test_self_attention(causal, options, dtype):
    layer, module = pair(dtype, **options)
    theirs = {"attn_mask": torch.from_numpy(~SQUARE), "is_causal": True} if causal else {}
    agree(layer, module, [draw("x", (N, L, FEATURES), dtype)], {"causal": causal}, theirs)


MASKS = {
    "none": ({}, {}),
    "pairs": ({"mask": PAIRS}, {"attn_mask": torch.from_numpy(~PAIRS)}),
    "keys": ({"key_mask": LENGTHS}, {"key_padding_mask": torch.from_numpy(~LENGTHS)}),
    "pairs and keys": (
        {"mask": PAIRS, "key_mask": LENGTHS},
        {"attn_mask": torch.from_numpy(~PAIRS), "key_padding_mask": torch.from_numpy(~LENGTHS)},
    ),
}


@pytest.mark.parametrize(
    "sizes", [{}, {"key_features": 7, "value_features": 9}], ids=["one size", "their own"]
)
@pytest.mark.parametrize("name", MASKS)
@both_floats
def test_attention_to_another_sequence(name, sizes, dtype):
    layer, module = pair(dtype, **sizes)
    arrays = [
        draw("query", (N, L, FEATURES), dtype),
        draw("key", (N, S, sizes.get("key_features", FEATURES)), dtype),
        draw("value", (N, S, sizes.get("value_features", FEATURES)), dtype),
    ]
    agree(layer, module, arrays, *MASKS[name])


@both_floats
def test_a_mask_of_floats_for_each_head(dtype):
    layer, module = pair(dtype)
    mask = draw("floats", (N, HEADS, L, S), dtype)
    arrays = [
        draw(name, (N, length, FEATURES), dtype)
        for name, length in (("query", L), ("key", S), ("value", S))
    ]
    agree(
        layer,
        module,
        arrays,
        {"mask": mask},
        {"attn_mask": torch.from_numpy(mask.reshape(N * HEADS, L, S))},
    )
