"""The encoder-decoder Transformer of Vaswani et al. (2017), post-norm.

Written out in plain PyTorch, so that it can be read beside
src/models/transformer.rs. Parameters carry Marian's names, so that a file of
ours loads with load_state_dict.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

MASKED = -1e9


class Attention(nn.Module):
    def __init__(self, m):
        super().__init__()
        d = m["d_model"]
        self.heads, self.dropout = m["heads"], m["dropout"]
        self.q_proj = nn.Linear(d, d, bias=m["bias"])
        self.k_proj = nn.Linear(d, d, bias=m["bias"])
        self.v_proj = nn.Linear(d, d, bias=m["bias"])
        self.out_proj = nn.Linear(d, d, bias=m["bias"])

    def forward(self, x, memory, allowed):
        """`allowed` is true where a query (row) may see a key (column)."""

        def heads(y):
            return y.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # B, H, T, D

        q, k, v = heads(self.q_proj(x)), heads(self.k_proj(memory)), heads(self.v_proj(memory))
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        weights = scores.masked_fill(~allowed, MASKED).softmax(-1)
        weights = F.dropout(weights, self.dropout, self.training)
        return self.out_proj((weights @ v).transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """An encoder block, or a decoder block if it attends to the encoder."""

    def __init__(self, m, decoder):
        super().__init__()
        d = m["d_model"]
        self.dropout = m["dropout"]
        self.self_attn = Attention(m)
        self.self_attn_layer_norm = nn.LayerNorm(d, m["norm_eps"])
        if decoder:
            self.encoder_attn = Attention(m)
            self.encoder_attn_layer_norm = nn.LayerNorm(d, m["norm_eps"])
        self.fc1 = nn.Linear(d, m["ffn"], bias=m["bias"])
        self.fc2 = nn.Linear(m["ffn"], d, bias=m["bias"])
        self.final_layer_norm = nn.LayerNorm(d, m["norm_eps"])

    def forward(self, x, allowed, memory=None, memory_allowed=None):
        def residual(norm, y):
            return norm(x + F.dropout(y, self.dropout, self.training))

        x = residual(self.self_attn_layer_norm, self.self_attn(x, x, allowed))
        if memory is not None:
            y = self.encoder_attn(x, memory, memory_allowed)
            x = residual(self.encoder_attn_layer_norm, y)
        return residual(self.final_layer_norm, self.fc2(self.fc1(x).relu()))


class Transformer(nn.Module):
    """`m` is the recipe's [model]. Source, target and output share one matrix."""

    def __init__(self, m, vocabulary):
        super().__init__()
        self.m = m
        self.model = nn.Module()
        self.model.shared = nn.Embedding(vocabulary, m["d_model"])
        for side in ["encoder", "decoder"]:
            layers = [Layer(m, side == "decoder") for _ in range(m[side + "_layers"])]
            stack = nn.Module()
            stack.layers = nn.ModuleList(layers)
            self.model.add_module(side, stack)

    def embed(self, ids):
        d = self.m["d_model"]
        position = torch.arange(ids.shape[1], dtype=torch.float64)[:, None]
        angle = position / 10000 ** (torch.arange(0, d, 2, dtype=torch.float64) / d)
        positions = torch.stack([angle.sin(), angle.cos()], -1).flatten(1)  # interleaved
        scale = math.sqrt(d) if self.m["scale_embedding"] else 1.0
        x = self.model.shared(ids) * scale + positions.float()
        return F.dropout(x, self.m["dropout"], self.training)

    def forward(self, batch):
        """Logits (B, T, V)."""
        source, target = batch["source"], batch["target_in"]
        seen = torch.arange(source.shape[1]) < batch["source_lengths"][:, None]
        seen = seen[:, None, None, :]  # B, H, queries, keys
        causal = torch.ones(target.shape[1], target.shape[1], dtype=torch.bool).tril()

        memory = self.embed(source)
        for layer in self.model.encoder.layers:
            memory = layer(memory, seen)
        x = self.embed(target)
        for layer in self.model.decoder.layers:
            x = layer(x, causal, memory, seen)
        return x @ self.model.shared.weight.T
