"""Golden loss and gradients of a small Transformer under its options, by PyTorch.

Writes options.safetensors next to this file:

    pip install torch numpy safetensors transformers
    python tests/golden/options.py

The stored file was made with torch 2.15.0 on the CPU and checked with transformers
5.23.0. Everything is computed in float64 from float32 parameters and rounded to
float32 to be stored.

The models, all with one embedding matrix and without dropout:

    pre      pre-norm, exact GELU, learned positions: transformers' Pegasus
    split    post-norm, GELU by tanh, half-split sinusoids: transformers' Marian
    rotary   pre-norm, ReLU, rotary positions: torch.nn's layers have no such thing,
             so the rotation alone is checked, with transformers' LLaMA

Tensors (F32 unless said otherwise):

    init.NAME            parameters; each model takes those that it has
    MODEL.loss           label-smoothed cross-entropy, mean over the real tokens (1)
    MODEL.nll            the same without smoothing (1)
    MODEL.gradients      of the loss, one behind the other in the order of the
                         parameters' names, flat
    source target_in     U32 (4, S) and (4, T), PAD behind the end
    source_lengths target_lengths    U32 (4), EOS or BOS included
"""

import math
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch
import torch.nn.functional as F
from transformers import MarianConfig, MarianMTModel, PegasusConfig, PegasusForConditionalGeneration
from transformers.models.llama.modeling_llama import LlamaConfig, LlamaRotaryEmbedding, apply_rotary_pos_emb

SEED = 3
V, D, HEADS, LAYERS, FFN = 13, 8, 2, 2, 12
ROWS, S, T = 4, 6, 5
PAD, BOS, EOS, FIRST_TOKEN = 0, 1, 2, 4
IGNORE = -100
LN_EPS, SMOOTHING = 1e-5, 0.1
MODELS = {
    "pre": ("pre", "gelu", "learned"),
    "split": ("post", "gelu_new", "sinusoidal_split"),
    "rotary": ("pre", "relu", "rotary"),
}


def init_parameters(rng):
    """Every tensor random, so that no term of the model can hide."""
    params = {"model.shared.weight": torch.randn(V, D, generator=rng) * D**-0.5}

    def linear(name, n_out, n_in):
        params[name + ".weight"] = torch.randn(n_out, n_in, generator=rng) * n_in**-0.5
        params[name + ".bias"] = torch.randn(n_out, generator=rng) * 0.2

    def norm(name):
        params[name + ".weight"] = 1 + torch.randn(D, generator=rng) * 0.2
        params[name + ".bias"] = torch.randn(D, generator=rng) * 0.2

    for side, attentions in [("encoder", ["self_attn"]), ("decoder", ["self_attn", "encoder_attn"])]:
        params[f"model.{side}.embed_positions.weight"] = torch.randn(S, D, generator=rng)
        norm(f"model.{side}.layer_norm")
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


def of_model(model, params):
    """The parameters that a model has, by name."""
    norm, _, positions = MODELS[model]
    without = [".layer_norm"] if norm == "post" else []
    without += ["embed_positions"] if positions != "learned" else []
    return {name: t for name, t in sorted(params.items()) if not any(part in name for part in without)}


def make_batch(rng):
    """Rows of unequal length; the first is full on both sides."""
    source, target_in = torch.full((ROWS, S), PAD), torch.full((ROWS, T), PAD)
    target_out = torch.full((ROWS, T), IGNORE)
    source_lengths, target_lengths = torch.tensor([S, 2, 1, 4]), torch.tensor([T, 3, 4, 1])
    for row in range(ROWS):
        n = source_lengths[row] - 1
        source[row, :n] = torch.randint(FIRST_TOKEN, V, (n,), generator=rng)
        source[row, n] = EOS
        n = target_lengths[row] - 1
        tokens = torch.randint(FIRST_TOKEN, V, (n,), generator=rng)
        target_in[row, 0], target_in[row, 1 : n + 1] = BOS, tokens
        target_out[row, :n], target_out[row, n] = tokens, EOS
    return dict(
        source=source,
        target_in=target_in,
        target_out=target_out,
        source_lengths=source_lengths,
        target_lengths=target_lengths,
    )


# Model


def angles(positions, width):
    """position * 10000^(-2i / width), (positions, width / 2)."""
    i = torch.arange(width // 2, dtype=torch.float64)
    return torch.arange(positions, dtype=torch.float64)[:, None] * 10000 ** (-2 * i / width)


def rotate(x):
    """x (..., T, head size): element i and element i + half, turned by position * frequency i."""
    angle = angles(x.shape[-2], x.shape[-1])
    a, b = x.chunk(2, -1)
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)


class Model:
    def __init__(self, p, norm, activation, positions):
        self.p, self.pre, self.positions = p, norm == "pre", positions
        self.activation = {
            "relu": F.relu,
            "gelu": lambda x: x * (1 + torch.erf(x / math.sqrt(2))) / 2,
            "gelu_new": lambda x: x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
        }[activation]

    def linear(self, name, x):
        return x @ self.p[name + ".weight"].T + self.p[name + ".bias"]

    def norm(self, name, x):
        return F.layer_norm(x, (D,), self.p[name + ".weight"], self.p[name + ".bias"], LN_EPS)

    def embed(self, side, ids):
        x = self.p["model.shared.weight"][ids] * math.sqrt(D)
        if self.positions == "learned":
            return x + self.p[f"model.{side}.embed_positions.weight"][: ids.shape[1]]
        if self.positions == "sinusoidal_split":
            angle = angles(ids.shape[1], D)
            return x + torch.cat([angle.sin(), angle.cos()], -1)
        return x

    def attention(self, name, x, memory, allowed):
        def heads(proj, t):
            return self.linear(f"{name}.{proj}", t).unflatten(-1, (HEADS, -1)).transpose(1, 2)

        q, k, v = heads("q_proj", x), heads("k_proj", memory), heads("v_proj", memory)
        if self.positions == "rotary" and name.endswith("self_attn"):
            q, k = rotate(q), rotate(k)
        scores = (q @ k.transpose(-1, -2)) / math.sqrt(D // HEADS)
        weights = scores.masked_fill(~allowed, -1e9).softmax(-1)
        return self.linear(name + ".out_proj", (weights @ v).transpose(1, 2).flatten(2))

    def sublayer(self, norm, x, f):
        return x + f(self.norm(norm, x)) if self.pre else self.norm(norm, x + f(x))

    def stack(self, side, ids, own, memory=None, encoded=None):
        x = self.embed(side, ids)
        for i in range(LAYERS):
            layer = f"model.{side}.layers.{i}."
            name = layer + "self_attn"
            x = self.sublayer(name + "_layer_norm", x, lambda x: self.attention(name, x, x, own))
            if memory is not None:
                name = layer + "encoder_attn"
                x = self.sublayer(name + "_layer_norm", x, lambda x: self.attention(name, x, memory, encoded))
            feed_forward = lambda x: self.linear(layer + "fc2", self.activation(self.linear(layer + "fc1", x)))
            x = self.sublayer(layer + "final_layer_norm", x, feed_forward)
        return self.norm(f"model.{side}.layer_norm", x) if self.pre else x

    def logits(self, batch):
        keys = (torch.arange(S) < batch["source_lengths"][:, None])[:, None, None, :]
        memory = self.stack("encoder", batch["source"], keys)
        causal = torch.ones(T, T, dtype=torch.bool).tril()
        x = self.stack("decoder", batch["target_in"], causal, memory, keys)
        return x @ self.p["model.shared.weight"].T


# Checks of the model above


def check_against_transformers(model, params, batch):
    """The logits of real target tokens, as transformers' class of the same architecture computes them."""
    norm, activation, positions = MODELS[model]
    Config, Class = {
        "pre": (PegasusConfig, PegasusForConditionalGeneration),
        "post": (MarianConfig, MarianMTModel),
    }[norm]
    layers = dict(encoder_layers=LAYERS, decoder_layers=LAYERS, encoder_ffn_dim=FFN, decoder_ffn_dim=FFN)
    heads = dict(encoder_attention_heads=HEADS, decoder_attention_heads=HEADS)
    tokens = dict(pad_token_id=PAD, eos_token_id=EOS, decoder_start_token_id=BOS, forced_eos_token_id=None)
    sizes = dict(vocab_size=V, d_model=D, max_position_embeddings=S, scale_embedding=True)
    config = Config(
        **layers, **heads, **tokens, **sizes, activation_function=activation, dropout=0.0, attn_implementation="eager"
    )
    theirs = Class(config).double().eval()
    missing, unexpected = theirs.load_state_dict(of_model(model, params), strict=False)
    computed = {f"model.{side}.embed_positions.weight" for side in ["encoder", "decoder"]}
    tied = {"model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight"}
    assert not unexpected and set(missing) <= tied | computed | {"final_logits_bias"}, (missing, unexpected)
    mask = torch.arange(S) < batch["source_lengths"][:, None]
    result = theirs(input_ids=batch["source"], attention_mask=mask, decoder_input_ids=batch["target_in"])
    real = batch["target_out"] != IGNORE
    ours = Model(params, *MODELS[model]).logits(batch)
    # Their sinusoids are rounded to float32.
    rounding = 1e-12 if positions == "learned" else 1e-5
    torch.testing.assert_close(ours[real], result.logits[real], rtol=rounding, atol=rounding)


def check_rotation(rng):
    x = torch.randn(2, 3, 7, 6, generator=rng)
    config = LlamaConfig(hidden_size=18, num_attention_heads=3, max_position_embeddings=7)
    cos, sin = LlamaRotaryEmbedding(config)(x, torch.arange(7)[None])
    theirs, _ = apply_rotary_pos_emb(x, x, cos, sin)
    torch.testing.assert_close(rotate(x.double()), theirs.double(), rtol=1e-5, atol=1e-5)


# Output


def main():
    torch.set_num_threads(1)
    rng = torch.Generator().manual_seed(SEED)
    init = init_parameters(rng)
    batch = make_batch(rng)
    check_rotation(rng)
    params = {name: t.double() for name, t in init.items()}
    for model in ["pre", "split"]:
        check_against_transformers(model, params, batch)

    tensors = {"init." + name: t.numpy() for name, t in init.items()}
    for name in ["source", "target_in", "source_lengths", "target_lengths"]:
        tensors[name] = batch[name].numpy().astype(np.uint32)
    for model, (norm, activation, positions) in MODELS.items():
        p = {name: t.clone().requires_grad_() for name, t in of_model(model, params).items()}
        logits = Model(p, norm, activation, positions).logits(batch).flatten(0, 1)
        target = batch["target_out"].flatten()
        loss = F.cross_entropy(logits, target, ignore_index=IGNORE, label_smoothing=SMOOTHING)
        nll = F.cross_entropy(logits, target, ignore_index=IGNORE)
        gradients = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(p.values()))])
        for name, value in [("loss", loss), ("nll", nll), ("gradients", gradients)]:
            tensors[f"{model}.{name}"] = value.detach().numpy().reshape(-1).astype(np.float32)
    safetensors.numpy.save_file(tensors, Path(__file__).with_suffix(".safetensors"))


if __name__ == "__main__":
    main()
