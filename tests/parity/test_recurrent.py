"""These tests compare RNN, GRU and LSTM with PyTorch's: outputs, states, gradients of inputs and of
all weights.
"""

import numpy as np
import pytest
import torch
from torch import nn as tn

import minidl as md
from minidl import nn
from tests.support.parity import assert_close, both_floats, draw, torch_type

KINDS = {"RNN": (nn.RNN, tn.RNN), "GRU": (nn.GRU, tn.GRU), "LSTM": (nn.LSTM, tn.LSTM)}
OPTIONS = (
    {},
    {"num_layers": 2},
    {"bidirectional": True},
    {"bias": False},
    {"num_layers": 2, "bidirectional": True},
)
N, T, C, H = 5, 7, 3, 6


def their_names(layer):
    """Yield (our cell, the end of the names of PyTorch's tensors) for each layer and direction."""
    directions = 2 if layer.bidirectional else 1
    for k, cell in enumerate(layer.cells):
        yield cell, f"l{k // directions}" + ("_reverse" if k % directions else "")


def copy_weights(layer, module):
    """Copy our weights to PyTorch's layer, transposed, with the bias divided unevenly between its
    two biases.
    """
    state = {}
    for cell, end in their_names(layer):
        state[f"weight_ih_{end}"] = cell.weight_x.data.T
        state[f"weight_hh_{end}"] = cell.weight_h.data.T
        if cell.bias is not None:
            bias, other = cell.bias.data, np.zeros_like(cell.bias.data)
            if isinstance(layer, nn.GRU):
                other[2 * layer.hidden :] = cell.bias_h.data
                other[: 2 * layer.hidden] = bias[: 2 * layer.hidden] / 4
                state[f"bias_ih_{end}"] = bias - np.where(
                    np.arange(bias.size) < 2 * layer.hidden, other, 0
                )
            else:
                other = bias / 4
                state[f"bias_ih_{end}"] = bias - other
            state[f"bias_hh_{end}"] = other
    module.load_state_dict({name: torch.from_numpy(np.array(a)) for name, a in state.items()})


def assert_same_gradients(layer, module):
    theirs = {name: p.grad.numpy() for name, p in module.named_parameters()}
    for cell, end in their_names(layer):
        assert_close(cell.weight_x.grad, theirs[f"weight_ih_{end}"].T, f"weight_x {end}")
        assert_close(cell.weight_h.grad, theirs[f"weight_hh_{end}"].T, f"weight_h {end}")
        if cell.bias is not None:
            assert_close(cell.bias.grad, theirs[f"bias_ih_{end}"], f"bias {end}")
            if isinstance(layer, nn.GRU):
                assert_close(
                    cell.bias_h.grad, theirs[f"bias_hh_{end}"][2 * layer.hidden :], f"bias_h {end}"
                )


def pair(state):
    return state if isinstance(state, tuple) else (state,)


def one(parts):
    return tuple(parts) if len(parts) > 1 else parts[0]


def compare(layer, module, dtype, given):
    """Compare one forward and backward of both, with the same weights and, if given, the same
    states.
    """
    layer.astype(dtype)
    module.to(torch_type(dtype))
    copy_weights(layer, module)
    x = draw("x", (N, T, C), dtype)
    count = 2 if isinstance(layer, nn.LSTM) else 1
    states = [draw(f"state {k}", (len(layer.cells), N, H), dtype) for k in range(count)]
    ours = [md.tensor(a, requires_grad=True) for a in (x, *states)]
    theirs = [torch.from_numpy(np.array(a)).requires_grad_() for a in (x, *states)]
    y, last = layer(ours[0], one(ours[1:]) if given else None)
    their_y, their_last = module(theirs[0], one(theirs[1:]) if given else None)
    results, their_results = (y, *pair(last)), (their_y, *pair(their_last))
    starts = []
    for k, (result, expected) in enumerate(zip(results, their_results, strict=True)):
        assert_close(result.data, expected.detach().numpy(), f"result {k}")
        starts.append(draw(f"gradient {k}", result.shape, dtype))
    sum((r * g).sum() for r, g in zip(results, starts, strict=True)).backward()
    torch.autograd.backward(their_results, [torch.from_numpy(g) for g in starts])
    assert_same_gradients(layer, module)
    for k, (t, expected) in enumerate(zip(ours, theirs, strict=True)):
        if k == 0 or given:
            assert_close(t.grad, expected.grad.numpy(), f"gradient of input {k}")


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("given", (False, True), ids=("zeros", "state"))
@pytest.mark.parametrize("name", KINDS)
@both_floats
def test_layer(name, options, given, dtype):
    md.manual_seed(0)
    make, make_theirs = KINDS[name]
    compare(make(C, H, **options), make_theirs(C, H, batch_first=True, **options), dtype, given)


@both_floats
def test_rnn_with_relu(dtype):
    md.manual_seed(0)
    options = {"num_layers": 2, "nonlinearity": "relu"}
    compare(nn.RNN(C, H, **options), tn.RNN(C, H, batch_first=True, **options), dtype, True)


@pytest.mark.parametrize("name", KINDS)
def test_dropout_is_between_layers_only(name):
    """With p = 1 the last layer of both gets zeros, and its output is not dropped."""
    md.manual_seed(0)
    make, make_theirs = KINDS[name]
    compare(
        make(C, H, num_layers=2, dropout=1.0),
        make_theirs(C, H, num_layers=2, dropout=1.0, batch_first=True),
        np.float64,
        False,
    )
    layer = make(C, H, dropout=1.0)
    assert layer(draw("x", (N, T, C), np.float32))[0].data.any()


@pytest.mark.parametrize("name", KINDS)
def test_first_values_have_pytorchs_spread(name):
    md.manual_seed(0)
    make, make_theirs = KINDS[name]
    layer, module = make(40, 100), make_theirs(40, 100)
    for ours, theirs in (
        (layer.cells[0].weight_x, module.weight_ih_l0),
        (layer.cells[0].weight_h, module.weight_hh_l0),
        (layer.cells[0].bias, module.bias_ih_l0),
    ):
        w, expected = ours.data, theirs.detach().numpy()
        assert 0.09 < np.abs(w).max() <= 0.1 * (1 + 1e-6)
        assert abs(w.std() / expected.std() - 1) < (0.05 if w.ndim > 1 else 0.3)


@both_floats
def test_nn_step_norm_is_a_batch_norm_for_each_step(dtype):
    norm = nn.StepNorm(C, max_steps=3, gamma_init=1.0, shift=True).astype(dtype)
    theirs = [tn.BatchNorm1d(C).to(torch_type(dtype)) for _ in range(3)]
    for k in range(4):
        for step in range(3 - k % 2):
            x = draw(f"x {k} {step}", (N, C), dtype)
            dy = draw(f"dy {k} {step}", (N, C), dtype)
            ours, expected = md.tensor(x, requires_grad=True), torch.from_numpy(x).requires_grad_()
            y, their_y = norm(ours, step), theirs[step](expected)
            assert_close(y.data, their_y.detach().numpy(), "y")
            y.backward(dy)
            their_y.backward(torch.from_numpy(dy))
            assert_close(ours.grad, expected.grad.numpy(), "gradient of x")
    for step, module in enumerate(theirs):
        assert_close(norm.running_mean[step], module.running_mean.numpy(), "running_mean")
        assert_close(norm.running_var[step], module.running_var.numpy(), "running_var")
        assert norm.num_batches[step] == module.num_batches_tracked.item()
    for theirs_name, p in (("weight", norm.gamma), ("bias", norm.beta)):
        total = sum(getattr(module, theirs_name).grad for module in theirs)
        assert_close(p.grad, total.numpy(), theirs_name)
