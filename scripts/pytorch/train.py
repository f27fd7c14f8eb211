"""Trains the model of a recipe in PyTorch on the batches of a run.

    python train.py BATCHES OUT [--threads N]

BATCHES is what `cargo run --release --example batches` wrote: the recipe, the
initial parameters and every batch. All of them are taken, in order. OUT gets
metrics.jsonl, with the names that the run's has, and model.safetensors, the
parameters with the lowest validation loss.

Only the dropout masks differ from the run's: they come from PyTorch's generator.
"""

import argparse
import itertools
import json
import math
import time
import tomllib
from pathlib import Path

import numpy as np
import safetensors.numpy
import safetensors.torch
import torch
import torch.nn.functional as F
from gpt import Gpt
from model import Transformer

IGNORE = -100  # stored as 4294967295

# What this twin does; a recipe that says otherwise needs another one. A key that the recipe
# has not got counts as the first.
MODELS = {
    "transformer": {
        "norm": ["post"],
        "activation": ["relu"],
        "positions": ["sinusoidal"],
        "tie_embeddings": [True],
    },
    "gpt": {"positions": ["learned"]},
}
SUPPORTED = {
    "tokenizer": {
        "shared": [True],
    },
    "train": {
        "optimizer": ["adamw"],
        "schedule": ["inverse_sqrt", "noam", "constant", "cosine", "linear", "wsd"],
        "accumulate": [1],
        "init_from": [""],
    },
}


def read_recipe(path):
    recipe = tomllib.loads(path.read_text())
    kind = recipe["model"]["kind"]
    if kind not in MODELS:
        raise SystemExit(f"{path}: model.kind = {kind!r}: only {list(MODELS)} here")
    for section, keys in (SUPPORTED | {"model": MODELS[kind]}).items():
        for key, values in keys.items():
            value = recipe[section].get(key, values[0])
            if value not in values:
                raise SystemExit(f"{path}: {section}.{key} = {value!r}: only {values} here")
    return recipe


def read_batches(path):
    """The batches of a file, in order."""
    tensors = safetensors.numpy.load_file(path)
    batches = {}
    for name in sorted(tensors):
        number, what = name.split(".")
        ids = torch.from_numpy(tensors[name].astype(np.int64))
        batches.setdefault(number, {})[what] = ids.masked_fill(ids == 2**32 - 1, IGNORE)
    return list(batches.values())


def training_batches(folder, steps):
    """The batches of all steps; a folder may hold more from an earlier time."""
    files = sorted(folder.glob("epoch-*.safetensors"))
    return itertools.islice(itertools.chain.from_iterable(map(read_batches, files)), steps)


def learning_rate(t, d_model, step, steps):
    """Of a step, counted from 1, of `steps`; src/recipe/schedule.rs has the formulas."""
    lr, least, w = t["lr"], t.get("min_lr", 0.0), t["warmup"]

    def left(part):
        """Of the way down to `least`, when it takes the last `part` steps."""
        return min((steps - step) / part, 1.0) if part > 0 else 1.0

    match t["schedule"]:
        case "noam":
            rise = step * w**-1.5 if w else math.inf
            return lr * d_model**-0.5 * min(step**-0.5, rise)
        case _ if step < w:
            return lr * step / w
        case "constant":
            return lr
        case "inverse_sqrt":
            return lr * math.sqrt(max(w, 1) / step)
        case "cosine":
            return least + (lr - least) * (1 - math.cos(math.pi * left(steps - w))) / 2
        case "linear":
            return least + (lr - least) * left(steps - w)
        case "wsd":
            return least + (lr - least) * left(steps / 5)


def target_entropy(smoothing, vocabulary):
    """Of the smoothed target: eps / V on every class, the right one included."""
    other = smoothing / vocabulary
    right = 1 - smoothing + other
    rest = (vocabulary - 1) * other * math.log(other) if other else 0.0
    return -right * math.log(right) - rest


def loss_sum(logits, batch, smoothing):
    """Cross-entropy summed over the real target tokens."""
    logits, labels = logits.flatten(0, 1), batch["target_out"].flatten()
    return F.cross_entropy(
        logits, labels, ignore_index=IGNORE, label_smoothing=smoothing, reduction="sum"
    )


@torch.no_grad()
def evaluate(model, batches, smoothing):
    """Mean loss with and without label smoothing over all target tokens of a set."""
    model.eval()
    loss = nll = tokens = 0
    for batch in batches:
        logits = model(batch)
        loss += loss_sum(logits, batch, smoothing).item()
        nll += loss_sum(logits, batch, 0.0).item()
        tokens += (batch["target_out"] != IGNORE).sum().item()
    model.train()
    return loss / tokens, nll / tokens


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("batches", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--threads", type=int, default=0, help="default: PyTorch's choice")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)

    recipe = read_recipe(args.batches / "recipe.toml")
    counts = json.loads((args.batches / "counts.json").read_text())
    m, t = recipe["model"], recipe["train"]
    torch.manual_seed(t["seed"])
    initial = safetensors.torch.load_file(args.batches / "initial.safetensors")
    if m["kind"] == "gpt":
        vocabulary = len(initial["transformer.wte.weight"])
        model = Gpt(m, vocabulary, t["block"])
    else:
        vocabulary = len(initial["model.shared.weight"])
        model = Transformer(m, vocabulary)
    model.load_state_dict(initial)
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": t["weight_decay"]},
            {"params": others, "weight_decay": 0.0},
        ],
        betas=t["betas"],
        eps=t["eps"],
    )
    valid = read_batches(args.batches / "valid.safetensors")
    smoothing = t["label_smoothing"]
    entropy = target_entropy(smoothing, vocabulary)

    # What the recipe asks for: a run that was stopped has done fewer.
    steps = t["epochs"] * counts["steps_per_epoch"] or t["steps"]

    args.out.mkdir(parents=True, exist_ok=True)
    best = math.inf
    start = time.monotonic()
    with open(args.out / "metrics.jsonl", "w", buffering=1) as metrics:
        for step, batch in enumerate(training_batches(args.batches, counts["steps"]), 1):
            before = time.monotonic()
            lr = learning_rate(t, m["d_model"], step, steps)
            for group in optimizer.param_groups:
                group["lr"] = lr
            tokens = (batch["target_out"] != IGNORE).sum().item()
            optimizer.zero_grad()
            loss = loss_sum(model(batch), batch, smoothing) / tokens
            loss.backward()
            grad_norm = torch.nn.utils.clip_grad_norm_(model.parameters(), t["clip"] or math.inf)
            optimizer.step()
            now = time.monotonic()
            row = {
                "step": step,
                "epoch": step / counts["steps_per_epoch"],
                "loss": loss.item(),
                "kl": loss.item() - entropy,
                "lr": lr,
                "grad_norm": grad_norm.item(),
                "tokens_per_second": tokens / (now - before),
                "seconds": now - start,
            }
            if step % t["eval_every"] == 0 or step == counts["steps"]:
                valid_loss, nll = evaluate(model, valid, smoothing)
                row |= {"valid_loss": valid_loss, "valid_perplexity": math.exp(nll)}
                print(
                    f"step {step}: validation loss {valid_loss:.4f}, perplexity "
                    f"{math.exp(nll):.3f}, {now - start:.0f} s so far",
                    flush=True,
                )
                if valid_loss < best:
                    best = valid_loss
                    safetensors.torch.save_file(model.state_dict(), args.out / "model.safetensors")
            metrics.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
