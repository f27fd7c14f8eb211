"""Golden values of recurrent sequence-to-sequence models: losses and gradients by PyTorch.

Writes seq2seq.safetensors next to this file:

    pip install torch numpy safetensors
    python tests/golden/seq2seq.py

The stored file was made with torch 2.15.0 on the CPU, one thread, in float64 and rounded to float32 at the end: what
differs from it is the other side's rounding.

The cells are torch.nn's. What is around them is written from the papers: Sutskever et al. 2014 (the context vector is the
first state), Cho et al. 2014 (it joins the input and the output of every step), Bahdanau et al. 2015 (additive scores with
the state before a step), Luong et al. 2015 (products with the state after it, input feeding). What they leave open is as
seqloom has it: no biases in scores and logits, keys projected once, an encoder with two directions starts each layer of the
decoder through a projection of both last states (tanh for h), readouts are tanh(W [...] + b).

A variant V has the tensors (F32 unless said otherwise)

    V.init.NAME     parameters
    V.grad.NAME     gradient of the loss
    V.source        U32 (rows, S): tokens, EOS, PAD...
    V.target        U32 (rows, T + 1): BOS, tokens, EOS, PAD...
    V.lengths       U32 (2, rows): tokens + EOS of the source, tokens + 1 of the target

and in the file's metadata "V" its recipe, as keys for --set with a blank between them, and "V.loss" its loss, the mean over
the real target tokens, in decimal.
"""

from pathlib import Path

import numpy as np
import safetensors.numpy
import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

SEED = 5
PAD, BOS, EOS, FIRST_TOKEN = 0, 1, 2, 4
SOURCE, TARGET = 19, 17  # vocabularies
LENGTHS = [[7, 1, 4, 9], [5, 3, 8, 1]]  # with EOS; the longest source has the shortest target

BASE = dict(cell="lstm", hidden=9, embedding=6, layers=1, bidirectional=True, attention="none", context="first")
BASE |= dict(input_feeding=False, tie_embeddings=False, shared=False, label_smoothing=0.0)
VARIANTS = {
    "fed": dict(attention="general", input_feeding=True, shared=True, label_smoothing=0.1),
    "additive": dict(cell="gru", attention="bahdanau", layers=2),
    "first": dict(layers=2, bidirectional=False),
    "every": dict(cell="gru", context="every", shared=True),
    "dot": dict(cell="rnn", bidirectional=False, attention="dot", hidden=8, embedding=8, tie_embeddings=True, shared=True),
    "general": dict(attention="general", layers=2, hidden=8, embedding=8, tie_embeddings=True),
}
SECTIONS = dict(shared="tokenizer", label_smoothing="train")


class Model(torch.nn.Module):
    def __init__(self, o):
        super().__init__()
        self.o = o
        h, m = o["hidden"], o["embedding"]
        e = 2 * h if o["bidirectional"] else h
        kind = dict(lstm=torch.nn.LSTM, gru=torch.nn.GRU, rnn=torch.nn.RNN)[o["cell"]]
        feeds = dict(none=e if o["context"] == "every" else 0, bahdanau=e).get(
            o["attention"], h if o["input_feeding"] else 0
        )
        tokens = (SOURCE, SOURCE) if o["shared"] else (SOURCE, TARGET)

        def linear(name, out, into, bias):
            self.register_parameter(name.replace(".", "/") + "/weight", torch.nn.Parameter(torch.empty(out, into)))
            if bias:
                self.register_parameter(name.replace(".", "/") + "/bias", torch.nn.Parameter(torch.empty(out)))

        if o["tie_embeddings"] and o["shared"]:
            linear("embedding", tokens[0], m, False)
        else:
            linear("encoder.embedding", tokens[0], m, False)
            linear("decoder.embedding", tokens[1], m, False)
        if not o["tie_embeddings"]:
            linear("decoder.output", tokens[1], h, False)
        self.encoder = kind(m, h, o["layers"], batch_first=True, bidirectional=o["bidirectional"])
        self.decoder = kind(m + feeds, h, o["layers"], batch_first=True)
        if o["bidirectional"]:
            for layer in range(o["layers"]):
                for part in "hc" if o["cell"] == "lstm" else "h":
                    linear(f"bridge.{part}_l{layer}", h, e, True)
        if o["attention"] in ("general", "bahdanau"):
            linear("attention.key", h, e, False)
        if o["attention"] == "bahdanau":
            linear("attention.query", h, h, False)
            linear("attention.energy", 1, h, False)
        readout = dict(none=(h + e + m) * (o["context"] == "every"), bahdanau=h + e + m).get(o["attention"], e + h)
        if readout:
            linear("decoder.readout", h, readout, True)
        self.double()
        for p in self.parameters():
            torch.nn.init.uniform_(p, -1.0, 1.0)

    def named(self):
        """Parameters by the names that seqloom gives them."""
        for name, p in self.named_parameters():
            yield name.replace("coder.", "coder.rnn.").replace("/", "."), p

    def weight(self, name):
        return dict(self.named())[name]

    def linear(self, name, x):
        return F.linear(x, self.weight(name + ".weight"), dict(self.named()).get(name + ".bias"))

    def table(self, side):
        name = "embedding" if self.o["tie_embeddings"] and self.o["shared"] else f"{side}.embedding"
        return self.weight(name + ".weight")

    def encode(self, source, lengths):
        """States (B, S, E), and what the cells end with: each (layers, B, E)."""
        packed = pack_padded_sequence(self.table("encoder")[source], lengths, batch_first=True, enforce_sorted=False)
        states, ends = self.encoder(packed)
        states, _ = pad_packed_sequence(states, batch_first=True, total_length=source.shape[1])
        ends = ends if isinstance(ends, tuple) else (ends,)
        if self.o["bidirectional"]:
            ends = tuple(torch.cat([end[0::2], end[1::2]], -1) for end in ends)
        return states, ends

    def bridge(self, ends):
        if not self.o["bidirectional"]:
            return ends
        layers = range(self.o["layers"])
        first = [torch.stack([self.linear(f"bridge.{p}_l{i}", end[i]) for i in layers]) for p, end in zip("hc", ends)]
        return (first[0].tanh(), *first[1:])

    def attend(self, query, states, real):
        """The context (B, E) of a state (B, H)."""
        kind = self.o["attention"]
        if kind == "bahdanau":
            sums = self.linear("attention.query", query)[:, None] + self.linear("attention.key", states)
            scores = self.linear("attention.energy", sums.tanh())[..., 0]
        else:
            keys = self.linear("attention.key", states) if kind == "general" else states
            scores = torch.einsum("bh,bsh->bs", query, keys)
        weights = scores.masked_fill(~real, -torch.inf).softmax(-1)
        return torch.einsum("bs,bse->be", weights, states)

    def forward(self, source, lengths, target):
        """Logits (B, T, V)."""
        o = self.o
        states, ends = self.encode(source, lengths)
        real = torch.arange(source.shape[1]) < lengths[:, None]
        vector = ends[0][-1]
        cells = self.bridge(ends)
        fed = vector.new_zeros(len(source), o["hidden"])
        logits = []
        output = self.table("decoder") if o["tie_embeddings"] else self.weight("decoder.output.weight")
        for ids in target.T:
            x = self.table("decoder")[ids]
            if o["attention"] == "bahdanau":
                context = self.attend(cells[0][-1], states, real)
                joined = [x, context]
            elif o["attention"] == "none":
                context = vector if o["context"] == "every" else None
                joined = [x] if context is None else [x, context]
            else:
                joined = [x, fed] if o["input_feeding"] else [x]
            _, cells = self.decoder(torch.cat(joined, -1)[:, None], cells if o["cell"] == "lstm" else cells[0])
            cells = cells if isinstance(cells, tuple) else (cells,)
            h = cells[0][-1]
            if o["attention"] in ("dot", "general"):
                context = self.attend(h, states, real)
                h = fed = self.linear("decoder.readout", torch.cat([context, h], -1)).tanh()
            elif context is not None:
                h = self.linear("decoder.readout", torch.cat([h, context, x], -1)).tanh()
            logits.append(h @ output.T)
        return torch.stack(logits, 1)


def main():
    torch.set_num_threads(1)
    tensors, metadata = {}, {}
    for number, (name, options) in enumerate(VARIANTS.items()):
        torch.manual_seed(SEED + number)
        o = BASE | options
        model = Model(o)
        lengths = torch.tensor(LENGTHS)
        rows, (s, t) = lengths.shape[1], lengths.max(1).values.tolist()
        source, target = torch.full((rows, s), PAD), torch.full((rows, t + 1), PAD)
        for row, (n, k) in enumerate(lengths.T.tolist()):
            source[row, :n] = torch.tensor([*torch.randint(FIRST_TOKEN, SOURCE, (n - 1,)).tolist(), EOS])
            target[row, : k + 1] = torch.tensor([BOS, *torch.randint(FIRST_TOKEN, TARGET, (k - 1,)).tolist(), EOS])
        wanted = torch.where(torch.arange(t) < lengths[1][:, None], target[:, 1:], -100)
        logits = model(source, lengths[0], target[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), label_smoothing=o["label_smoothing"])
        loss.backward()
        for kind, of in [("init", lambda p: p), ("grad", lambda p: p.grad)]:
            tensors |= {f"{name}.{kind}.{n}": of(p).detach().numpy().astype(np.float32) for n, p in model.named()}
        for n, ids in [("source", source), ("target", target), ("lengths", lengths)]:
            tensors[f"{name}.{n}"] = ids.numpy().astype(np.uint32)
        values = {k: str(v).lower() for k, v in o.items()}
        metadata[name] = " ".join(f"{SECTIONS.get(k, 'model')}.{k}={v}" for k, v in values.items())
        metadata[name + ".loss"] = repr(loss.item())
        print(name, loss.item(), sum(p.numel() for p in model.parameters()))
    safetensors.numpy.save_file(tensors, Path(__file__).with_suffix(".safetensors"), metadata)


if __name__ == "__main__":
    main()
