"""Golden values and gradients of single operations, by PyTorch.

Writes ops.safetensors next to this file:

    pip install torch numpy safetensors
    python tests/golden/ops.py

The stored file was made with torch 2.15.0 on the CPU. Inputs are float32 values;
outputs and gradients are computed from them in float64 and rounded to float32 to
be stored. dy is the cotangent of y, and dNAME = sum(dy * y) differentiated by NAME.
Tensors are F32 but for those marked U32; settings are tensors of one element.

    OP.x dy y dx            (4, 9), OP one of gelu (the exact one, with erf), tanh,
                            sigmoid, relu; x[0, :4] = 20, -20, 50, -50
    layer_norm.x dy y dx    (5, 7), over the last dimension; x[0] is small, so that
                            eps matters
    layer_norm.weight bias dweight dbias    (7)
    layer_norm.eps          1e-5
    softmax.x dy y dx       (2, 3, 5, 7) = batch, heads, queries, keys:
                            y = softmax(scale * x) over keys k < lengths[batch];
                            y and dx are zero at other keys, dy is not
    softmax.lengths         U32 (2)
    softmax.scale           0.25
    softmax_causal.*        the same with (2, 2, 6, 6), scale 0.5, and the keys
                            k <= query only
    cross_entropy.x dx      (9, 11) rows of logits; 100 is added to x[1]
    cross_entropy.targets   U32 (9), 4294967295 in ignored rows: no loss, no gradient
    cross_entropy.dy y      (9), y the label-smoothed loss of each row
    cross_entropy.nll       (9), negative log-likelihood of each row
    cross_entropy.label_smoothing    0.1, label_smoothing / 11 on every class
    embedding.ids           U32 (6), with repetitions
    embedding.table dtable  (5, 4)
    embedding.dy y          (6, 4)
    matmul.a da             (3, 5)
    matmul.b db             (5, 4)
    matmul.dy y             (3, 4), y = a @ b
    adamw.p g m v           (4, 5), parameter, gradient and moments before the step
    adamw.p_after m_after v_after    (4, 5), after it
    rnn.x gru.x lstm.x ...  x (B, T, C), starts and finals of each layer and direction (B, S, H), the parameters by
                            torch.nn's names, lengths (U32), y; dNAME is the gradient of NAME, given the cotangents dy of y
                            and cotangentN of finalN. _packed: both directions; _layers: two layers
    adamw.step              U32, 3: the number of the step taken, for bias correction
    adamw.lr beta1 beta2 eps weight_decay    0.01, 0.9, 0.98, 1e-3, 0.1
"""

from pathlib import Path

import numpy as np
import safetensors.numpy
import torch
import torch.nn.functional as F

SEED = 1
IGNORE = -100  # stored as 4294967295

rng = torch.Generator().manual_seed(SEED)
tensors = {}


def randn(*shape, scale=1.0):
    """Random values of float32 precision, as float64."""
    return (torch.randn(*shape, generator=rng) * scale).double()


def store(op, **values):
    for name, value in values.items():
        value = torch.as_tensor(value).detach().numpy()
        dtype = np.uint32 if np.issubdtype(value.dtype, np.integer) else np.float32
        tensors[f"{op}.{name}"] = np.atleast_1d(value).astype(dtype)


def store_op(op, function, **inputs):
    """Stores the inputs, y = function(inputs...), a random dy and the gradients."""
    for value in inputs.values():
        assert torch.equal(value, value.float().double())
        value.requires_grad_()
    y = function(*inputs.values())
    dy = randn(*y.shape)
    gradients = torch.autograd.grad(y, inputs.values(), dy)
    store(op, **inputs, dy=dy, y=y)
    store(op, **{"d" + name: g for name, g in zip(inputs, gradients)})


def elementwise():
    for op in [F.gelu, torch.tanh, torch.sigmoid, torch.relu]:
        x = randn(4, 9, scale=2)
        x[0, :4] = torch.tensor([20, -20, 50, -50])
        store_op(op.__name__, op, x=x)


def layer_norm():
    x = randn(5, 7)
    x[0] = randn(7, scale=0.01)
    store_op(
        "layer_norm",
        lambda x, weight, bias: F.layer_norm(x, (7,), weight, bias, 1e-5),
        x=x,
        weight=randn(7),
        bias=randn(7),
    )
    store("layer_norm", eps=1e-5)


def softmax(op, shape, lengths, scale, causal):
    queries, keys = shape[-2:]
    lengths = torch.tensor(lengths)
    allowed = torch.arange(keys) < lengths[:, None, None, None]
    if causal:
        allowed = allowed & torch.ones(queries, keys, dtype=torch.bool).tril()
    x = randn(*shape, scale=4)
    store_op(op, lambda x: (x * scale).masked_fill(~allowed, -torch.inf).softmax(-1), x=x)
    store(op, lengths=lengths, scale=scale)
    hidden = ~np.broadcast_to(allowed.numpy(), shape)
    assert not tensors[op + ".y"][hidden].any() and not tensors[op + ".dx"][hidden].any()


def cross_entropy():
    targets = torch.tensor([3, 10, IGNORE, 0, 7, 7, IGNORE, 5, 1])
    x = randn(9, 11, scale=3)
    x[1] = (x[1] + 100).float()
    options = dict(target=targets, ignore_index=IGNORE, reduction="none")
    nll = F.cross_entropy(x, **options)
    store_op("cross_entropy", lambda x: F.cross_entropy(x, label_smoothing=0.1, **options), x=x)
    stored = torch.where(targets == IGNORE, 2**32 - 1, targets)
    store("cross_entropy", targets=stored, nll=nll, label_smoothing=0.1)


def embedding():
    ids = torch.tensor([4, 0, 2, 4, 4, 2])
    store_op("embedding", lambda table: F.embedding(ids, table), table=randn(5, 4))
    store("embedding", ids=ids)


def matmul():
    store_op("matmul", lambda a, b: a @ b, a=randn(3, 5), b=randn(5, 4))


def adamw():
    p = randn(4, 5)
    g, m = randn(4, 5, scale=0.01), randn(4, 5, scale=0.01)
    v = randn(4, 5, scale=1e-6).abs()  # small, so that eps matters
    settings = dict(lr=0.01, beta1=0.9, beta2=0.98, eps=1e-3, weight_decay=0.1)
    store("adamw", p=p.clone(), g=g, m=m.clone(), v=v.clone(), step=3, **settings)
    betas = settings.pop("beta1"), settings.pop("beta2")
    p.grad = g
    optimizer = torch.optim.AdamW([p], betas=betas, **settings)
    optimizer.state[p] = {"step": torch.tensor(2.0), "exp_avg": m, "exp_avg_sq": v}
    optimizer.step()
    assert optimizer.state[p]["step"] == 3
    store("adamw", p_after=p, m_after=m, v_after=v)


def recurrent(op, module, layers=1, bidirectional=False, lengths=None):
    """A torch.nn module over sequences from initial states: h, the final states, and gradients of everything."""
    batch, time, width, size = 3, 5, 4, 6
    states = 2 if module is torch.nn.LSTM else 1
    walks = layers * (2 if bidirectional else 1)
    net = module(width, size, layers, batch_first=True, bidirectional=bidirectional).double()
    parameters = dict(net.named_parameters())
    for value in parameters.values():
        value.data = randn(*value.shape, scale=0.5)
    x = randn(batch, time, width).requires_grad_()
    # One initial state a layer and direction, (B, S, H) each.
    starts = [randn(batch, states, size).requires_grad_() for _ in range(walks)]
    start = tuple(torch.stack([state[:, s] for state in starts]) for s in range(states))
    lengths = torch.tensor(lengths or [time] * batch)
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    y, final = net(packed, start if states == 2 else start[0])
    y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True, total_length=time)
    final = torch.stack(final if states == 2 else (final,), 2)  # (walks, B, S, H)
    dy, dfinal = randn(*y.shape), randn(*final.shape)
    wrt = {"x": x, **parameters, **{f"start{i}": state for i, state in enumerate(starts)}}
    gradients = torch.autograd.grad([y, final], list(wrt.values()), [dy, dfinal])
    store(op, **wrt, lengths=lengths, y=y, dy=dy)
    store(op, **{"d" + name: g for name, g in zip(wrt, gradients)})
    for i in range(walks):
        store(op, **{f"final{i}": final[i], f"cotangent{i}": dfinal[i]})


elementwise()
layer_norm()
softmax("softmax", (2, 3, 5, 7), [7, 3], 0.25, causal=False)
softmax("softmax_causal", (2, 2, 6, 6), [6, 4], 0.5, causal=True)
cross_entropy()
embedding()
matmul()
adamw()
recurrent("rnn", torch.nn.RNN)
recurrent("gru", torch.nn.GRU)
recurrent("lstm", torch.nn.LSTM)
recurrent("gru_packed", torch.nn.GRU, bidirectional=True, lengths=[2, 5, 4])
recurrent("lstm_packed", torch.nn.LSTM, bidirectional=True, lengths=[2, 5, 4])
recurrent("lstm_layers", torch.nn.LSTM, layers=2, lengths=[5, 1, 3])
safetensors.numpy.save_file(tensors, Path(__file__).with_suffix(".safetensors"))
