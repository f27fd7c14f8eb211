"""The decoder alone as a language model, pre-norm (Radford et al. 2019, GPT-2).

Parameters carry the names of a run's checkpoints: GPT-2's, with the three
projections of an attention apart and linear weights as (out, in).
"""

import math

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    def __init__(self, m):
        super().__init__()
        d, bias = m["d_model"], m["bias"]
        self.heads, self.dropout = m["heads"], m["dropout"]
        self.ln_1 = nn.LayerNorm(d, m["norm_eps"], bias=bias)
        self.attn = nn.Module()
        for projection in ["q_proj", "k_proj", "v_proj", "c_proj"]:
            self.attn.add_module(projection, nn.Linear(d, d, bias=bias))
        self.ln_2 = nn.LayerNorm(d, m["norm_eps"], bias=bias)
        self.mlp = nn.Module()
        self.mlp.c_fc = nn.Linear(d, m["ffn"], bias=bias)
        self.mlp.c_proj = nn.Linear(m["ffn"], d, bias=bias)
        self.activation = {
            "gelu": F.gelu,
            "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
            "relu": F.relu,
        }[m["activation"]]

    def forward(self, x):
        def drop(y):
            return F.dropout(y, self.dropout, self.training)

        def heads(y):
            return y.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # B, H, T, D

        y = self.ln_1(x)
        q, k, v = (heads(p(y)) for p in (self.attn.q_proj, self.attn.k_proj, self.attn.v_proj))
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        causal = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
        weights = drop(scores.masked_fill(~causal, -math.inf).softmax(-1))
        x = x + drop(self.attn.c_proj((weights @ v).transpose(1, 2).flatten(2)))
        return x + drop(self.mlp.c_proj(self.activation(self.mlp.c_fc(self.ln_2(x)))))


class Gpt(nn.Module):
    """`m` is the recipe's [model]; positions are learned."""

    def __init__(self, m, vocabulary, block):
        super().__init__()
        self.m = m
        d = m["d_model"]
        self.transformer = nn.Module()
        self.transformer.wte = nn.Embedding(vocabulary, d)
        self.transformer.wpe = nn.Embedding(block, d)
        self.transformer.h = nn.ModuleList(Block(m) for _ in range(m["layers"]))
        self.transformer.ln_f = nn.LayerNorm(d, m["norm_eps"], bias=m["bias"])
        if not m["tie_embeddings"]:
            self.lm_head = nn.Linear(d, vocabulary, bias=False)

    def forward(self, batch):
        """Logits (B, T, V)."""
        ids, t = batch["target_in"], self.transformer
        scale = math.sqrt(self.m["d_model"]) if self.m["scale_embedding"] else 1.0
        x = t.wte(ids) * scale + t.wpe.weight[: ids.shape[1]]
        x = F.dropout(x, self.m["dropout"], self.training)
        for block in t.h:
            x = block(x)
        output = t.wte if self.m["tie_embeddings"] else self.lm_head
        return t.ln_f(x) @ output.weight.T
