"""A wide LSTM layer in bfloat16 on a CPU, with an explicit backward pass.

torch's bfloat16 layer computes the weights' gradients at each step. Here the loop over time contains only what depends
on the previous step; input projections, gate slopes and gradients of input and weights are computed once per window.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Carried: TypeAlias = tuple[Tensor, Tensor]


def autocasts_to_bfloat16(x: Tensor) -> bool:
    """Return whether autocast computes with x in bfloat16 on a CPU."""
    low = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return low and x.device.type == "cpu"


def wide_lstm(
    x: Tensor, state: Carried, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor, kind: torch.dtype = torch.bfloat16
) -> tuple[Tensor, Carried]:
    """Compute `nn.LSTM` over time, with matrix products, outputs and hidden state in the type `kind`.

    x (T, B, I), state (h, c) each (B, H), weight_ih (4H, I), weight_hh (4H, H), bias (4H,), the sum of both biases
    -> output (T, B, H) in `kind`, and the state after step T, with the cell in the weights' type.
    """
    with torch.autocast("cpu", enabled=False):
        arguments = x.to(kind), state[0].to(kind), state[1].to(weight_ih.dtype), weight_ih, weight_hh, bias
        output, cell = WideLSTM.apply(*arguments)  # type: ignore[no-untyped-call]
    # copy, so that the state does not keep the whole output in memory
    return output, (output[-1].clone(), cell)


class WideLSTM(torch.autograd.Function):
    """Autograd function of `wide_lstm`; gates are in torch's order: input, forget, cell, output."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, h: Tensor, c: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the output (T, B, H) in x's type and the last cell (B, H); shapes as in `wide_lstm`."""
        (steps, size, _), hidden = x.shape, weight_hh.shape[1]
        w_ih, w_hh = weight_ih.to(x.dtype), weight_hh.to(x.dtype)
        given = torch.addmm(bias.to(x.dtype), x.flatten(0, 1), w_ih.t()).view(steps, size, -1)
        gates = c.new_empty(steps, size, 4 * hidden)
        cells = c.new_empty(steps + 1, size, hidden)
        output = x.new_empty(steps, size, hidden)
        cells[0] = c
        before = h
        for step in range(steps):
            now = gates[step].copy_(torch.addmm(given[step], before, w_hh.t()))
            now[:, : 2 * hidden].sigmoid_()
            now[:, 2 * hidden : 3 * hidden].tanh_()
            now[:, 3 * hidden :].sigmoid_()
            i, f, g, o = now.chunk(4, 1)
            torch.mul(f, cells[step], out=cells[step + 1]).addcmul_(i, g)
            before = output[step].copy_(cells[step + 1].tanh().mul_(o))
        ctx.save_for_backward(x, h, w_ih, w_hh, gates, cells, output)
        return output, cells[-1].clone()

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, d_output: Tensor, d_cell: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the six arguments, those of weights and bias in the cells' type."""
        x, h, w_ih, w_hh, gates, cells, output = ctx.saved_tensors
        size, hidden = h.shape
        slopes, through = gate_slopes(gates, cells)
        # products are faster if both factors are contiguous along the summed dimension
        below_hh = w_hh.t().contiguous()
        d_gates = output.new_empty(gates.shape)
        dc, dh, d_output = d_cell, cells.new_zeros(size, hidden), d_output.to(cells.dtype)
        for step in reversed(range(len(gates))):
            dh = d_output[step] + dh
            dc = torch.addcmul(dc, dh, through[step])
            now, slope = d_gates[step].view(size, 4, hidden), slopes[step].view(size, 4, hidden)
            now[:, :3] = slope[:, :3] * dc[:, None]
            now[:, 3] = slope[:, 3] * dh
            dc = dc * gates[step, :, hidden : 2 * hidden]
            dh = d_gates[step] @ below_hh.t()
        d_all = d_gates.flatten(0, 1)
        earlier = torch.cat([h[None], output[:-1]]).flatten(0, 1)
        wanted = ctx.needs_input_grad
        d_x = (d_all @ w_ih.t().contiguous().t()).view_as(x) if wanted[0] else None
        d_ih = (d_all.t() @ x.flatten(0, 1)).to(cells.dtype) if wanted[3] else None
        d_hh = (d_all.t() @ earlier).to(cells.dtype) if wanted[4] else None
        d_bias = d_all.sum(0, dtype=cells.dtype) if wanted[5] else None
        return d_x, dh.to(h.dtype), dc, d_ih, d_hh, d_bias


def gate_slopes(gates: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    """Return the factors of the backward loop for all steps.

    gates (T, B, 4H) after activation, cells (T + 1, B, H) -> derivatives (T, B, 4H) of the new cell (first three gates)
    and of the output (last gate) by the gates' inputs, and of the output by the cell (T, B, H).
    """
    i, f, g, o = gates.chunk(4, 2)
    slopes = torch.empty_like(gates)
    d_i, d_f, d_g, d_o = slopes.chunk(4, 2)
    torch.mul(g, i, out=d_i).mul_(1 - i)
    torch.mul(cells[:-1], f, out=d_f).mul_(1 - f)
    torch.mul(g, g, out=d_g).neg_().add_(1).mul_(i)
    squashed = cells[1:].tanh()
    torch.mul(squashed, o, out=d_o).mul_(1 - o)
    through = squashed.square_().neg_().add_(1).mul_(o)
    return slopes, through
