"""LSTM, GRU and RNN as loops over time steps, with a linear product of one's own.

The fused kernels of torch can't host a converter at every step. Formulas and order of gates are torch's
(LSTM: i, f, g, o; GRU: r, z, n). A sequence is one product with the input weights for all steps together,
each step a vector of its own, and one product with the recurrent weights a step.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Linear = Callable[..., Tensor]  # (x, w, bias) -> y
State = tuple[Tensor, ...]  # (h,), or (h, c) for an LSTM
Step = Callable[[Tensor, Tensor, State], State]


def _lstm(gates_x: Tensor, gates_h: Tensor, state: State) -> State:
    """gates: (n, 4 hidden); state: h (n, hidden), c (n, hidden)."""
    i, f, g, o = (gates_x + gates_h).chunk(4, -1)
    c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def _gru(gates_x: Tensor, gates_h: Tensor, state: State) -> State:
    """gates: (n, 3 hidden); state: h (n, hidden)."""
    (rx, zx, nx), (rh, zh, nh) = gates_x.chunk(3, -1), gates_h.chunk(3, -1)
    z = (zx + zh).sigmoid()
    n = (nx + (rx + rh).sigmoid() * nh).tanh()
    return ((1 - z) * n + z * state[0],)


def _rnn_tanh(gates_x: Tensor, gates_h: Tensor, state: State) -> State:
    return ((gates_x + gates_h).tanh(),)


def _rnn_relu(gates_x: Tensor, gates_h: Tensor, state: State) -> State:
    return ((gates_x + gates_h).relu(),)


def _sequence(step: Step) -> Callable[..., tuple[Tensor, ...]]:
    """torch's fused kernel for this step, as a loop: (linear, its own arguments) -> (output, h_n[, c_n])."""

    def run(linear: Linear, input: Tensor, second: Any, third: Any, *rest: Any) -> tuple[Tensor, ...]:
        if isinstance(second, Tensor) and not second.is_floating_point():  # packed: batch sizes come second
            weights, bias, layers, dropout, train, both = rest
            return _layers(linear, step, input, second.tolist(), third, weights, bias, layers, dropout, train, both)
        weights, (bias, layers, dropout, train, both, batch_first) = third, rest
        x = input.transpose(0, 1) if batch_first else input
        sizes = [x.shape[1]] * x.shape[0]
        y, *last = _layers(linear, step, x.flatten(0, 1), sizes, second, weights, bias, layers, dropout, train, both)
        y = y.unflatten(0, x.shape[:2])
        return (y.transpose(0, 1) if batch_first else y, *last)

    return run


def _layers(
    linear: Linear,
    step: Step,
    x: Tensor,
    sizes: Sequence[int],
    start: Any,
    weights: Sequence[Tensor],
    bias: bool,
    layers: int,
    dropout: float,
    train: bool,
    both: bool,
) -> tuple[Tensor, ...]:
    """x: (sum of sizes, in), time by time, `sizes` sequences running at each; start: (layers directions, n, .)."""
    state = (start,) if isinstance(start, Tensor) else tuple(start)
    directions = 2 if both else 1
    each = len(weights) // (layers * directions)
    ends: list[State] = []
    for layer in range(layers):
        outputs = []
        for direction in range(directions):
            k = layer * directions + direction
            own = weights[k * each : (k + 1) * each]
            y, end = _direction(linear, step, x, sizes, tuple(s[k] for s in state), own, bias, direction == 1)
            outputs.append(y)
            ends.append(end)
        x = torch.cat(outputs, -1)
        if layer + 1 < layers:
            x = F.dropout(x, dropout, train)
    return x, *(torch.stack(parts) for parts in zip(*ends, strict=True))


def _direction(
    linear: Linear,
    step: Step,
    x: Tensor,
    sizes: Sequence[int],
    state: State,
    weights: Sequence[Tensor],
    bias: bool,
    backwards: bool,
) -> tuple[Tensor, State]:
    """One layer in one direction: (outputs (sum of sizes, hidden), last state of every sequence)."""
    w_ih, w_hh, *others = weights
    b_ih, b_hh = others[:2] if bias else (None, None)
    projection = others[-1] if len(others) in (1, 3) else None
    gates = linear(x, w_ih, b_ih).split(list(sizes))
    outputs: list[Tensor] = [x] * len(sizes)
    for t in reversed(range(len(sizes))) if backwards else range(len(sizes)):
        running = tuple(s[: sizes[t]] for s in state)
        new = step(gates[t], linear(running[0], w_hh, b_hh), running)
        if projection is not None:
            new = (linear(new[0], projection), *new[1:])
        outputs[t] = new[0]
        state = tuple(torch.cat([n, s[sizes[t] :].to(n.dtype)]) for n, s in zip(new, state, strict=True))
    return torch.cat(outputs), state


def _cell(step: Step) -> Callable[..., Any]:
    """torch's fused cell for this step: (linear, its own arguments) -> h, or (h, c) for an LSTM."""

    def run(linear: Linear, x: Tensor, hx: Any, w_ih: Tensor, w_hh: Tensor, b_ih: Any = None, b_hh: Any = None) -> Any:
        state = (hx,) if isinstance(hx, Tensor) else tuple(hx)
        new = step(linear(x, w_ih, b_ih), linear(state[0], w_hh, b_hh), state)
        return new[0] if isinstance(hx, Tensor) else new

    return run


SEQUENCES: dict[Any, Callable[..., Any]] = {
    torch.lstm: _sequence(_lstm),
    torch.gru: _sequence(_gru),
    torch.rnn_tanh: _sequence(_rnn_tanh),
    torch.rnn_relu: _sequence(_rnn_relu),
}
CELLS: dict[Any, Callable[..., Any]] = {
    torch.lstm_cell: _cell(_lstm),
    torch.gru_cell: _cell(_gru),
    torch.rnn_tanh_cell: _cell(_rnn_tanh),
    torch.rnn_relu_cell: _cell(_rnn_relu),
}
