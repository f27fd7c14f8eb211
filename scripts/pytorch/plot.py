"""Draws the loss curves of two runs into one picture and prints their differences.

    python plot.py SEQLOOM/metrics.jsonl PYTORCH/metrics.jsonl PICTURE.svg

The table that it prints is Markdown.
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("agg")
matplotlib.rcParams["svg.fonttype"] = "none"  # text stays text
import matplotlib.pyplot as plt
import numpy as np

FIRST = 20  # steps in which rounding alone has not grown yet
COLOURS = ["#1f77b4", "#d65827"]


def read(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def column(rows, key):
    """Steps and values of the rows that have a key."""
    points = [(row["step"], row[key]) for row in rows if key in row]
    return np.array(points).T if points else np.empty((2, 0))


def draw(runs, path):
    window = max(1, max(len(rows) for rows in runs.values()) // 60)
    figure, axes = plt.subplots(figsize=(9, 5.5), layout="constrained")
    # The second run's lines are dashed: where both curves meet, both are seen.
    for (name, rows), colour, line in zip(runs.items(), COLOURS, ["-", (0, (4, 3))]):
        steps, losses = column(rows, "loss")
        smooth = np.convolve(losses, np.ones(window) / window, "valid")
        label = f"{name}, training"
        middle = steps[window // 2 :][: len(smooth)]
        axes.plot(middle, smooth, color=colour, ls=line, lw=1, alpha=0.7, label=label)
        label = f"{name}, validation"
        marker = "o" if line == "-" else "x"
        points = column(rows, "valid_loss")
        axes.plot(*points, color=colour, ls=line, lw=2, marker=marker, ms=4, label=label)
    axes.set_title("Cross-entropy with label smoothing")
    axes.set_xlabel("step" if window == 1 else f"step (training loss: mean of {window} steps)")
    axes.set_ylabel("nats per target token")
    axes.set_xlim(left=0)
    axes.grid(color="#dddddd")
    axes.legend()
    figure.savefig(path)


def report(ours, theirs):
    pairs = [(a["loss"], b["loss"]) for a, b in zip(ours[:FIRST], theirs[:FIRST])]
    largest = max(abs(a / b - 1) for a, b in pairs)
    print(f"training loss of the first {len(pairs)} steps: relative difference up to {largest:.1e}")

    theirs = {row["step"]: row for row in theirs}
    both = [(a, theirs[a["step"]]) for a in ours if "valid_loss" in a]
    both = [(a, b) for a, b in both if "valid_loss" in b]
    print("\n|   step | seqloom | PyTorch | difference |")
    print("| -----: | ------: | ------: | ---------: |")
    for a, b in both:
        x, y = a["valid_loss"], b["valid_loss"]
        print(f"| {a['step']:6} | {x:7.4f} | {y:7.4f} | {100 * (x / y - 1):+8.2f} % |")
    x, y = (min(rows, key=lambda row: row["valid_loss"]) for rows in zip(*both))
    print(
        f"\nlowest validation loss: seqloom {x['valid_loss']:.4f} (perplexity "
        f"{x['valid_perplexity']:.3f}, step {x['step']}), PyTorch {y['valid_loss']:.4f} "
        f"({y['valid_perplexity']:.3f}, step {y['step']}): "
        f"{100 * (x['valid_loss'] / y['valid_loss'] - 1):+.2f} %"
    )


def main():
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    ours, theirs = read(sys.argv[1]), read(sys.argv[2])
    draw({"seqloom": ours, "PyTorch": theirs}, sys.argv[3])
    report(ours, theirs)


if __name__ == "__main__":
    main()
