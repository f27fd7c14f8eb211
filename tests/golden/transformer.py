"""Golden values of a small Transformer, trained ten steps by PyTorch.

Writes transformer.safetensors and transformer.json next to this file:

    pip install torch numpy safetensors
    python tests/golden/transformer.py

The stored files were made with torch 2.15.0 on the CPU, one thread. Another
version or processor may change the last bits.

The model is the post-norm encoder-decoder of Vaswani et al. (2017) without
dropout, with one embedding matrix for source, target and output projection.
Parameters carry Marian's names; linear weights are [out, in].

Tensors (F32 unless said otherwise; K = 0..9 is the batch of step K + 1):

    init.NAME               parameters before step 1
    grad.NAME               gradient of step 1's loss, before clipping
    final.NAME              parameters after step 10
    encoder_output          step 1, (rows, S, d_model)
    logits                  step 1, (rows, T, vocabulary)
    batch.K.source          U32 (rows, S): tokens, EOS, PAD...
    batch.K.target_in       U32 (rows, T): BOS, tokens, PAD...
    batch.K.target_out      U32 (rows, T): tokens, EOS, 4294967295...
    batch.K.source_lengths  U32 (rows): tokens + EOS
    batch.K.target_lengths  U32 (rows): tokens + 1 (BOS going in, EOS coming out)

encoder_output and logits hold padded positions too. There the decoder is masked
causally but not by target length, so a model that also masks padded target keys
differs at those positions, and only there.

The JSON has the settings and, for every step, of the float32 training:

    loss       label-smoothed cross-entropy, mean over the real target tokens
    nll        negative log-likelihood of the same logits, same mean
    kl         loss minus the entropy of the smoothed target distribution
    grad_norm  global norm of the gradient before clipping
    lr, tokens

and loss64, nll64, grad_norm64 of the same training in float64. "rounding" lists for
each parameter the largest |float32 - float64| of its step-1 gradient and of
its final values. It is large for final k_proj.bias, whose gradient is zero in
exact arithmetic (softmax ignores a shift shared by all keys): Adam turns the
rounding noise into full steps, which do not change the loss. Don't compare it.

Adam's first steps are nearly the sign of the gradient, so with some seeds an element
whose gradient is close to zero makes rounding errors grow ten thousandfold in ten
steps. SEED is the steadiest of 31 tried: at step 1 the smallest gradient other than
exact zeros and k_proj.bias is 6e-7.
"""

import json
import math
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch
import torch.nn.functional as F

SEED = 17
V, D, HEADS, LAYERS, FFN = 37, 32, 4, 2, 64
ROWS, S, T, STEPS = 4, 9, 8, 10
PAD, BOS, EOS, FIRST_TOKEN = 0, 1, 2, 4
IGNORE = -100  # stored as 4294967295
LN_EPS, SMOOTHING = 1e-5, 0.1
PEAK_LR, WARMUP = 5e-3, 4
BETAS, ADAM_EPS, WEIGHT_DECAY, CLIP_NORM = (0.9, 0.98), 1e-9, 0.01, 1.0
MASKED = -1e9


# Parameters and batches


def init_parameters(rng):
    """Every tensor random, so that no term of the model can hide."""
    params = {"model.shared.weight": torch.randn(V, D, generator=rng) * D**-0.5}

    def linear(name, n_out, n_in):
        bound = math.sqrt(6 / (n_in + n_out))  # Xavier
        params[name + ".weight"] = (torch.rand(n_out, n_in, generator=rng) * 2 - 1) * bound
        params[name + ".bias"] = torch.randn(n_out, generator=rng) * 0.05

    def norm(name):
        params[name + ".weight"] = 1 + torch.randn(D, generator=rng) * 0.1
        params[name + ".bias"] = torch.randn(D, generator=rng) * 0.05

    for side, attentions in [
        ("encoder", ["self_attn"]),
        ("decoder", ["self_attn", "encoder_attn"]),
    ]:
        for i in range(LAYERS):
            layer = f"model.{side}.layers.{i}."
            for attn in attentions:
                for proj in ["q_proj", "k_proj", "v_proj", "out_proj"]:
                    linear(f"{layer}{attn}.{proj}", D, D)
                norm(f"{layer}{attn}_layer_norm")
            linear(layer + "fc1", FFN, D)
            linear(layer + "fc2", D, FFN)
            norm(layer + "final_layer_norm")
    return params


def make_batch(rng):
    """Rows of unequal length; the first is full on both sides."""
    source = torch.full((ROWS, S), PAD)
    target_in = torch.full((ROWS, T), PAD)
    target_out = torch.full((ROWS, T), IGNORE)
    source_lengths = torch.randint(1, S + 1, (ROWS,), generator=rng)
    target_lengths = torch.randint(1, T + 1, (ROWS,), generator=rng)
    source_lengths[0], target_lengths[0] = S, T
    for row in range(ROWS):
        n = source_lengths[row] - 1
        source[row, :n] = torch.randint(FIRST_TOKEN, V, (n,), generator=rng)
        source[row, n] = EOS
        n = target_lengths[row] - 1
        tokens = torch.randint(FIRST_TOKEN, V, (n,), generator=rng)
        target_in[row, 0] = BOS
        target_in[row, 1 : n + 1] = tokens
        target_out[row, :n] = tokens
        target_out[row, n] = EOS
    return {
        "source": source,
        "source_lengths": source_lengths,
        "target_in": target_in,
        "target_out": target_out,
        "target_lengths": target_lengths,
    }


# Model


def embed(p, ids):
    position = torch.arange(ids.shape[1], dtype=torch.float64)[:, None]
    angle = position / 10000 ** (torch.arange(0, D, 2, dtype=torch.float64) / D)
    positions = torch.stack([angle.sin(), angle.cos()], -1).flatten(1)  # interleaved
    table = p["model.shared.weight"]
    return table[ids] * math.sqrt(D) + positions.to(table.dtype)


def linear(p, name, x):
    return x @ p[name + ".weight"].T + p[name + ".bias"]


def norm(p, name, x):
    return F.layer_norm(x, (D,), p[name + ".weight"], p[name + ".bias"], LN_EPS)


def attention(p, name, x, memory, allowed):
    """`allowed` is true where a query (row) may see a key (column)."""

    def heads(proj, t):
        return linear(p, f"{name}.{proj}", t).unflatten(-1, (HEADS, -1)).transpose(1, 2)

    q, k, v = heads("q_proj", x), heads("k_proj", memory), heads("v_proj", memory)
    scores = q @ k.transpose(-1, -2) / math.sqrt(D // HEADS)
    weights = scores.masked_fill(~allowed, MASKED).softmax(-1)
    return linear(p, name + ".out_proj", (weights @ v).transpose(1, 2).flatten(2))


def feed_forward(p, layer, x):
    return linear(p, layer + "fc2", linear(p, layer + "fc1", x).relu())


def forward(p, batch):
    """Returns (encoder output, logits)."""
    source_keys = torch.arange(S) < batch["source_lengths"][:, None]
    source_keys = source_keys[:, None, None, :]  # rows, heads, queries, keys
    causal = torch.ones(T, T, dtype=torch.bool).tril()

    x = embed(p, batch["source"])
    for i in range(LAYERS):
        layer = f"model.encoder.layers.{i}."
        y = attention(p, layer + "self_attn", x, x, source_keys)
        x = norm(p, layer + "self_attn_layer_norm", x + y)
        x = norm(p, layer + "final_layer_norm", x + feed_forward(p, layer, x))
    memory = x

    x = embed(p, batch["target_in"])
    for i in range(LAYERS):
        layer = f"model.decoder.layers.{i}."
        y = attention(p, layer + "self_attn", x, x, causal)
        x = norm(p, layer + "self_attn_layer_norm", x + y)
        y = attention(p, layer + "encoder_attn", x, memory, source_keys)
        x = norm(p, layer + "encoder_attn_layer_norm", x + y)
        x = norm(p, layer + "final_layer_norm", x + feed_forward(p, layer, x))
    return memory, x @ p["model.shared.weight"].T


def losses(logits, batch):
    """Returns (smoothed loss, negative log-likelihood), means over real tokens."""
    logits, target = logits.flatten(0, 1), batch["target_out"].flatten()
    loss = F.cross_entropy(logits, target, ignore_index=IGNORE, label_smoothing=SMOOTHING)
    return loss, F.cross_entropy(logits, target, ignore_index=IGNORE)


# Training


def learning_rate(step):
    return PEAK_LR * (step / WARMUP if step <= WARMUP else math.sqrt(WARMUP / step))


def target_entropy():
    other = SMOOTHING / V
    right = 1 - SMOOTHING + other
    return -right * math.log(right) - (V - 1) * other * math.log(other)


def train(init, batches, dtype):
    """Returns (values per step, tensors of step 1, final parameters)."""
    p = {name: t.to(dtype, copy=True).requires_grad_() for name, t in init.items()}
    optimizer = torch.optim.AdamW(
        [
            {"params": [t for t in p.values() if t.dim() >= 2], "weight_decay": WEIGHT_DECAY},
            {"params": [t for t in p.values() if t.dim() < 2], "weight_decay": 0.0},
        ],
        betas=BETAS,
        eps=ADAM_EPS,
    )
    steps, first = [], {}
    for step, batch in enumerate(batches, 1):
        optimizer.zero_grad()
        memory, logits = forward(p, batch)
        loss, nll = losses(logits, batch)
        loss.backward()
        if step == 1:
            first = {"encoder_output": memory.detach(), "logits": logits.detach()}
            first |= {"grad." + name: t.grad.clone() for name, t in p.items()}
        grad_norm = torch.nn.utils.clip_grad_norm_(p.values(), CLIP_NORM)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        optimizer.step()
        steps.append(
            {
                "step": step,
                "lr": learning_rate(step),
                "tokens": batch["target_lengths"].sum().item(),
                "loss": loss.item(),
                "nll": nll.item(),
                "kl": loss.item() - target_entropy(),
                "grad_norm": grad_norm.item(),
            }
        )
    return steps, first, {name: t.detach() for name, t in p.items()}


# Checks of the model above


def check_masks(p, batch, rng):
    """Padding never matters, nor does a later target token to an earlier one."""
    logits = forward(p, batch)[1]

    padded = dict(batch)
    for ids, lengths in [("source", "source_lengths"), ("target_in", "target_lengths")]:
        real = torch.arange(batch[ids].shape[1]) < batch[lengths][:, None]
        noise = torch.randint(0, V, batch[ids].shape, generator=rng)
        padded[ids] = torch.where(real, batch[ids], noise)
        assert not torch.equal(padded[ids], batch[ids])
    before, after = losses(logits, batch), losses(forward(p, padded)[1], batch)
    assert torch.equal(before[0], after[0]) and torch.equal(before[1], after[1])

    for t in range(1, T):
        later = dict(batch, target_in=batch["target_in"].clone())
        later["target_in"][:, t] = (later["target_in"][:, t] + 1) % V
        changed = forward(p, later)[1]
        assert torch.equal(changed[:, :t], logits[:, :t])
        assert not torch.equal(changed[:, t], logits[:, t])


def check_against_torch_nn(p, batch):
    """The same layers as torch.nn has them."""

    def load(module, layer, modules):
        state = {}
        for theirs, ours in modules.items():
            for kind in ["weight", "bias"]:
                if theirs.endswith("attn"):
                    qkv = [p[f"{layer}{ours}.{c}_proj.{kind}"] for c in "qkv"]
                    state[f"{theirs}.in_proj_{kind}"] = torch.cat(qkv)
                    state[f"{theirs}.out_proj.{kind}"] = p[f"{layer}{ours}.out_proj.{kind}"]
                else:
                    state[f"{theirs}.{kind}"] = p[f"{layer}{ours}.{kind}"]
        module.load_state_dict(state)
        return module

    shape = dict(dropout=0.0, layer_norm_eps=LN_EPS, batch_first=True, dtype=torch.float64)
    common = {"self_attn": "self_attn", "linear1": "fc1", "linear2": "fc2"}
    common["norm1"] = "self_attn_layer_norm"
    encoder = common | {"norm2": "final_layer_norm"}
    decoder = common | {"multihead_attn": "encoder_attn", "norm2": "encoder_attn_layer_norm"}
    decoder["norm3"] = "final_layer_norm"

    padding = torch.arange(S) >= batch["source_lengths"][:, None]
    future = torch.ones(T, T, dtype=torch.bool).triu(1)
    memory = embed(p, batch["source"])
    for i in range(LAYERS):
        layer = torch.nn.TransformerEncoderLayer(D, HEADS, FFN, **shape)
        load(layer, f"model.encoder.layers.{i}.", encoder)
        memory = layer(memory, src_key_padding_mask=padding)
    x = embed(p, batch["target_in"])
    for i in range(LAYERS):
        layer = torch.nn.TransformerDecoderLayer(D, HEADS, FFN, **shape)
        load(layer, f"model.decoder.layers.{i}.", decoder)
        x = layer(x, memory, tgt_mask=future, memory_key_padding_mask=padding)
    ours = forward(p, batch)
    theirs = memory, F.linear(x, p["model.shared.weight"])
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


# Output


def main():
    torch.set_num_threads(1)
    rng = torch.Generator().manual_seed(SEED)
    init = init_parameters(rng)
    batches = [make_batch(rng) for _ in range(STEPS)]

    init64 = {name: t.double() for name, t in init.items()}
    for batch in batches:
        check_masks(init64, batch, rng)
        check_against_torch_nn(init64, batch)

    steps, first, final = train(init, batches, torch.float32)
    steps64, first64, final64 = train(init, batches, torch.float64)
    for step, step64 in zip(steps, steps64):
        step |= {key + "64": step64[key] for key in ["loss", "nll", "grad_norm"]}

    tensors = {"init." + name: t.numpy() for name, t in init.items()}
    tensors |= {name: t.numpy() for name, t in first.items()}
    tensors |= {"final." + name: t.numpy() for name, t in final.items()}
    for k, batch in enumerate(batches):
        for name, t in batch.items():
            ids = torch.where(t == IGNORE, 2**32 - 1, t)
            tensors[f"batch.{k}.{name}"] = ids.numpy().astype(np.uint32)

    def difference(a, b):
        return (a.double() - b).abs().max().item()

    report = {
        "torch": torch.__version__,
        "settings": {
            "seed": SEED,
            "vocabulary": V,
            "d_model": D,
            "heads": HEADS,
            "encoder_layers": LAYERS,
            "decoder_layers": LAYERS,
            "ffn": FFN,
            "layer_norm_eps": LN_EPS,
            "pad": PAD,
            "bos": BOS,
            "eos": EOS,
            "label_smoothing": SMOOTHING,
            "target_entropy": target_entropy(),
            "beta1": BETAS[0],
            "beta2": BETAS[1],
            "adam_eps": ADAM_EPS,
            "weight_decay": WEIGHT_DECAY,
            "clip_norm": CLIP_NORM,
            "peak_lr": PEAK_LR,
            "warmup": WARMUP,
        },
        "steps": steps,
        "rounding": {
            name: {
                "grad": difference(first["grad." + name], first64["grad." + name]),
                "final": difference(final[name], final64[name]),
            }
            for name in init
        },
    }
    out = Path(__file__).with_suffix("")
    safetensors.numpy.save_file(tensors, out.with_suffix(".safetensors"))
    out.with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
