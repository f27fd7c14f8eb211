"""Golden values and gradients of two attention decoders, by PyTorch.

Writes attention.safetensors next to this file:

    pip install torch numpy safetensors
    python tests/golden/attention.py

The stored file was made with torch 2.15.0 on the CPU. Inputs are float32 values;
outputs and gradients are computed from them in float64 and rounded to float32 to
be stored. dy and dweights are the cotangents of y and weights, and dNAME is the
gradient of NAME. Tensors are F32 but for lengths, U32 (B), of memory.

    luong.*      Luong et al. 2015, global attention with the "general" score, equations 5 to 8, of all times at once:
                 y_t = tanh(W_c [c_t; h_t]), c_t = sum of weights_ts memory_s, score_ts = h_t . W_a memory_s
        h (B, T, H), memory (B, S, H), w_a (H, H), w_c (H, 2 H), y (B, T, H), weights (B, T, S)
    bahdanau.*   Bahdanau et al. 2015, appendix A.1.2 and A.2.2, a time after the other:
                 y_t = GRU([x_t; c_t], y_{t-1}), c_t = sum of weights_ts memory_s,
                 score_ts = v_a . tanh(W_a y_{t-1} + U_a memory_s)
        x (B, T, E), memory (B, S, M), start (B, 1, H), w_a (A, H), u_a (A, M), v_a (A), the cell's parameters by
        torch.nn.GRUCell's names, y (B, T, H), weights (B, T, S)
"""

from pathlib import Path

import numpy as np
import safetensors.numpy
import torch

rng = torch.Generator().manual_seed(2)
tensors = {}


def randn(*shape, scale=1.0):
    """Random values of float32 precision, as float64."""
    return (torch.randn(*shape, generator=rng) * scale).float().double().requires_grad_()


def store(model, inputs, lengths, y, weights):
    """The inputs, the results, random cotangents of both and the gradients of the inputs."""
    dy, dweights = randn(*y.shape).detach(), randn(*weights.shape).detach()
    gradients = torch.autograd.grad([y, weights], list(inputs.values()), [dy, dweights])
    values = dict(inputs, y=y, weights=weights, dy=dy, dweights=dweights)
    values.update({"d" + name: g for name, g in zip(inputs, gradients)})
    for name, value in values.items():
        tensors[f"{model}.{name}"] = value.detach().numpy().astype(np.float32)
    tensors[f"{model}.lengths"] = lengths.numpy().astype(np.uint32)


def softmax(scores, lengths):
    """Over the last dimension of (B, ..., S), of which row b has lengths[b]."""
    outside = torch.arange(scores.shape[-1]) >= lengths.view(-1, *[1] * (scores.dim() - 1))
    exps = torch.exp(scores - scores.amax(-1, keepdim=True)).masked_fill(outside, 0)
    return exps / exps.sum(-1, keepdim=True)


def luong():
    b, t, s, size = 3, 4, 6, 5
    lengths = torch.tensor([6, 1, 4])
    x = dict(h=randn(b, t, size), memory=randn(b, s, size), w_a=randn(size, size, scale=0.5))
    x["w_c"] = randn(size, 2 * size, scale=0.5)
    scores = torch.einsum("bth,hj,bsj->bts", x["h"], x["w_a"], x["memory"])
    weights = softmax(scores, lengths)
    context = torch.einsum("bts,bsh->bth", weights, x["memory"])
    y = torch.tanh(torch.cat([context, x["h"]], -1) @ x["w_c"].T)
    store("luong", x, lengths, y, weights)


def bahdanau():
    b, t, s, embedding, memory, size, inner = 3, 4, 6, 3, 7, 5, 9
    lengths = torch.tensor([2, 6, 5])
    cell = torch.nn.GRUCell(embedding + memory, size).double()
    x = dict(x=randn(b, t, embedding), memory=randn(b, s, memory), start=randn(b, 1, size))
    x.update(w_a=randn(inner, size, scale=0.5), u_a=randn(inner, memory, scale=0.5), v_a=randn(inner))
    parameters = {name: randn(*p.shape, scale=0.5) for name, p in cell.named_parameters()}
    x.update(parameters)
    keys = x["memory"] @ x["u_a"].T
    state, states, rows = x["start"][:, 0], [], []
    for i in range(t):
        scores = torch.tanh((state @ x["w_a"].T)[:, None] + keys) @ x["v_a"]
        weights = softmax(scores, lengths)
        context = (weights[..., None] * x["memory"]).sum(1)
        state = torch.func.functional_call(cell, parameters, (torch.cat([x["x"][:, i], context], -1), state))
        states.append(state)
        rows.append(weights)
    store("bahdanau", x, lengths, torch.stack(states, 1), torch.stack(rows, 1))


luong()
bahdanau()
safetensors.numpy.save_file(tensors, Path(__file__).with_suffix(".safetensors"))
