"""Golden values and gradients of convolutions and of the character CNN, by PyTorch.

Writes char_cnn.safetensors next to this file:

    pip install torch numpy safetensors
    python tests/golden/char_cnn.py

The stored file was made with torch 2.15.0 on the CPU. Inputs are float32 values;
outputs and gradients are computed from them in float64 and rounded to float32 to
be stored. dy is the cotangent of y, and dNAME = sum(dy * y) differentiated by NAME.
Tensors are F32 but for those marked U32. Every row of a batch goes through the
modules alone, cut at its length; what it gives is put in front of zeros.

    conv1d_NAME.x dx        (B, T, C)
    conv1d_NAME.lengths     U32 (B)
    conv1d_NAME.window      U32 (3): stride, zeros before, zeros after
    conv1d_NAME.weight bias dweight dbias    of torch.nn.Conv1d; (C_out, C, K), (C_out)
    conv1d_NAME.y dy        (B, O, C_out)
    max_pool.x dx           (B, T, C), with equal maxima
    max_pool.lengths        U32 (B)
    max_pool.y dy           (B, C)
    highway.x h t dx dh dt y dy    (4, 9): y = s relu(h) + (1 - s) x, s = sigmoid(t)
    words.ids               U32 (B, T, L), 7 where there is no character
    words.lengths           U32 (B * T): characters of each word, some none at all
    words.y dy              (B, T, C), zero where a word has no character
    sequence.ids            U32 (B, T), sequence.lengths U32 (B), sequence.y dy (B, T, C)
    words.NAME sequence.NAME and dNAME    the parameters: char_cnn.embedding.weight,
                            char_cnn.convolutions.I, char_cnn.highway.I.hidden and
                            .transform, char_cnn.projection
"""

from pathlib import Path

import numpy as np
import safetensors.numpy
import torch
import torch.nn.functional as F
from torch import nn

rng = torch.Generator().manual_seed(3)
tensors = {}


def randn(*shape, scale=1.0):
    """Random values of float32 precision, as float64."""
    return (torch.randn(*shape, generator=rng) * scale).double()


def store(op, **values):
    for name, value in values.items():
        value = torch.as_tensor(value).detach().numpy()
        dtype = np.uint32 if np.issubdtype(value.dtype, np.integer) else np.float32
        # safetensors writes the memory as it lies; gradients may be transposed in it.
        tensors[f"{op}.{name}"] = np.ascontiguousarray(np.atleast_1d(value).astype(dtype))


def store_gradients(op, y, wrt):
    dy = randn(*y.shape)
    gradients = torch.autograd.grad(y, list(wrt.values()), dy)
    store(op, **wrt, y=y, dy=dy)
    store(op, **{"d" + name: gradient for name, gradient in zip(wrt, gradients)})


def draw_parameters(module, scale):
    for value in module.parameters():
        value.data = randn(*value.shape, scale=scale)


def padded(rows, size):
    """Rows (n, C) of several lengths as (B, size, C)."""
    return torch.stack([F.pad(row, (0, 0, 0, size - len(row))) for row in rows])


def conv1d(name, time, c, c_out, width, lengths, stride=1, padding=(0, 0)):
    module = nn.Conv1d(c, c_out, width, stride, padding="same" if padding == "same" else 0).double()
    draw_parameters(module, 0.5)
    if padding == "same":
        zeros = (width - 1) // 2, width - 1 - (width - 1) // 2
        apply = lambda row: module(row.T)
    else:
        zeros = padding
        apply = lambda row: module(F.pad(row.T, padding))
    outputs = lambda n: max(0, (n + sum(zeros) - width) // stride + 1)
    x = randn(len(lengths), time, c).requires_grad_()
    rows = [apply(row[:n]).T if outputs(n) else x.new_zeros(0, c_out) for row, n in zip(x, lengths)]
    assert [len(row) for row in rows] == [outputs(n) for n in lengths]
    op = f"conv1d_{name}"
    store_gradients(op, padded(rows, outputs(time)), {"x": x, **dict(module.named_parameters())})
    store(op, lengths=torch.tensor(lengths), window=torch.tensor([stride, *zeros]))


def max_pool():
    lengths = [5, 0, 2, 1]
    x = randn(4, 5, 3)
    x[0, :, 0] = torch.tensor([1.0, 2.0, 2.0, -1.0, 2.0])  # the first of equal ones has the gradient
    x.requires_grad_()
    rows = [row[:n].max(0).values if n else x.new_zeros(3) for row, n in zip(x, lengths)]
    store_gradients("max_pool", torch.stack(rows), {"x": x})
    store("max_pool", lengths=torch.tensor(lengths))


def highway():
    x, h, t = [randn(4, 9, scale=2).requires_grad_() for _ in range(3)]
    t.data[0, :4] = torch.tensor([20.0, -20.0, 90.0, -90.0])
    s = torch.sigmoid(t)
    store_gradients("highway", s * torch.relu(h) + (1 - s) * x, {"x": x, "h": h, "t": t})


class Highway(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.hidden = nn.Linear(size, size)
        self.transform = nn.Linear(size, size)

    def forward(self, x):
        s = torch.sigmoid(self.transform(x))
        return s * torch.relu(self.hidden(x)) + (1 - s) * x


class CharCnn(nn.Module):
    def __init__(self, chars, embedding, widths, filters, highway, out):
        super().__init__()
        self.embedding = nn.Embedding(chars, embedding)
        convolutions = [nn.Conv1d(embedding, n, k, padding="same") for k, n in zip(widths, filters)]
        self.convolutions = nn.ModuleList(convolutions)
        self.highway = nn.ModuleList(Highway(sum(filters)) for _ in range(highway))
        self.projection = nn.Linear(sum(filters), out)

    def finish(self, x):
        for layer in self.highway:
            x = layer(x)
        return self.projection(x)

    def convolved(self, ids):
        x = self.embedding(ids).T
        return [convolution(x) for convolution in self.convolutions]

    def word(self, ids):
        """One word's vector."""
        return self.finish(torch.cat([torch.tanh(y).max(1).values for y in self.convolved(ids)]))

    def sequence(self, ids):
        """A vector a character."""
        return self.finish(torch.cat([torch.relu(y) for y in self.convolved(ids)]).T)


def parameters(module):
    return {f"char_cnn.{name}": value for name, value in module.named_parameters()}


def words():
    batch, time, longest = 2, 4, 6
    lengths = torch.tensor([6, 1, 3, 0, 2, 5, 0, 0])
    net = CharCnn(9, 4, [1, 2, 3, 5], [4, 3, 6, 5], highway=2, out=8).double()
    draw_parameters(net, 0.5)
    ids = torch.randint(0, 7, (batch * time, longest), generator=rng)
    ids = torch.where(torch.arange(longest) < lengths[:, None], ids, 7)
    rows = [net.word(word[:n]) if n else torch.zeros(8).double() for word, n in zip(ids, lengths)]
    store_gradients("words", torch.stack(rows).reshape(batch, time, 8), parameters(net))
    store("words", ids=ids.reshape(batch, time, longest), lengths=lengths)


def sequence():
    time, lengths = 7, [7, 4, 1]
    net = CharCnn(9, 4, [1, 4, 3], [4, 3, 5], highway=1, out=6).double()
    draw_parameters(net, 0.5)
    ids = torch.randint(0, 9, (len(lengths), time), generator=rng)
    rows = [net.sequence(row[:n]) for row, n in zip(ids, lengths)]
    store_gradients("sequence", padded(rows, time), parameters(net))
    store("sequence", ids=ids, lengths=torch.tensor(lengths))


conv1d("valid", 9, 5, 4, 3, [9, 4, 2])
conv1d("one", 4, 3, 5, 1, [4, 2, 0])
conv1d("same_odd", 6, 4, 3, 5, [6, 1], padding="same")
conv1d("same_even", 7, 4, 8, 4, [3, 7], padding="same")
conv1d("strided", 11, 8, 6, 3, [11, 6, 3, 1], stride=2, padding=(1, 1))
conv1d("uneven", 10, 2, 4, 4, [10, 7], stride=3, padding=(3, 0))
conv1d("frames", 24, 80, 12, 5, [24, 15], stride=2, padding=(2, 2))
max_pool()
highway()
words()
sequence()
safetensors.numpy.save_file(tensors, Path(__file__).with_suffix(".safetensors"))
