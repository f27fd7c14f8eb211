"""Makes a small GPT-2 directory with a tokenizer of GPT-2's own kind, as transformers saves it.

    pip install torch transformers
    python tests/golden/gpt2.py

The stored files were made with transformers 5.24.0, tokenizers 0.23.3 and torch 2.15.0
on the CPU. Another version or processor may change the parameters and the last bits of
the logits, and with them how texts go on. Beside this file it writes

    gpt2/            what save_pretrained writes of GPT2LMHeadModel and GPT2TokenizerFast
    gpt2/vocab.json, gpt2/merges.txt
                     the same tokenizer as older directories have it
    gpt2/texts.json  ids: texts and the ids that GPT2TokenizerFast gives them
                     every: FNV-1a over the ids of texts with each character of Unicode
                     generated: texts, and what greedy generate() makes of each, up to
                     <|endoftext|> or MOST tokens
                     logits: of one sequence of ids, and the ids

A run directory that `seqloom import` or `train` made is opened in the same way; its special
ids, the ids of the texts and the greedy continuations are compared with `seqloom generate`:

    python tests/golden/gpt2.py runs/imported
"""

import json
import subprocess
import sys
from pathlib import Path

import torch
import transformers
from tokenizers import ByteLevelBPETokenizer

HERE = Path(__file__).parent
GOLDEN = HERE / "gpt2"
PROGRAM = HERE.parent.parent / "target" / "release" / "seqloom"
END = "<|endoftext|>"
VOCABULARY = 400
MOST = 24

# Short, so that a small model learns where they end; with what merges can get wrong.
DOCUMENTS = [
    "The dog sees a cat.",
    "The cat doesn't see the dog.\nIt's asleep.",
    "They're going home, and we've seen them; I'm sure she'll come, he'd said.",
    "In 1990, 12 men\n\nand 345 women walked 2.5 km.",
    "def f(x):\n    if x:\n        return x + 1\n\n\n    return  0",
    "L'été à l'école : où êtes-vous ?",
    "Ein großer Hund läuft über die Straße.",
    "猫と犬が好きです。",
    "ну что ж, до свидания",
    "Yes! No?? Well... (maybe) -- \"so\" 🐕🐈",
]

# What the regular expression, the byte alphabet and the special token could get wrong.
TEXTS = [
    "",
    " ",
    "  ",
    "\n",
    " the dog",
    "   the   dog   ",
    "the dog\n",
    "the\n\ndog",
    "the\n\n\ndog",
    "the \n dog",
    "the  \n\n  dog\n\n",
    "\n\n  the\t\tdog\r\nsees\r\r\n\u00a0a\u2003\u2003cat\u3000",
    "It's he'd I'm they're we've she'll don't 'tis 'S 'LL 'Re ''s 's'",
    "it’s l'été L’ÉTÉ",
    "école ecole\u0301 naïve Straße ÅÉÎ",
    "🐕 👩‍👩‍👧 🇫🇷  🏳️‍🌈🏳️‍🌈",
    "猫と犬が好きです。 中文　文字",
    "1990 12,345.678 ½ ⅷ ٣٤ x2y3 １２",
    "a<|endoftext|>b",
    "<|endoftext|>",
    " <|endoftext|> \n<|endoftext|><|endoftext|>",
    "<|endoftext| > < |endoftext|> |endoftext|>",
    "<s> </s> <pad> <unk> <|ENDOFTEXT|>",
    "\x00\x01\x1b[0m\x7f\x80\x85\x85a\x9f",
    "\ufeff\u200b\u200d\u2028\u2029 \u2028\ufffd\ufffe\U000e0001\U0010ffff",
    "x" * 70 + " " * 33 + "!" * 33 + "\n" * 17 + "1" * 21,
    "def f(x):\n    if x:\n        return x + 1\n\n\n    return  0\n",
    "_ __ a_b _1 #include <a.h> // \\n \\\\ $5 %d ~^`",
]

PROMPTS = ["", "The", "The cat", "In 1990,", "def f(x):\n", "L'été", "猫と", "The dog sees a cat.<|endoftext|>", "Yes! 🐕"]


def train_tokenizer():
    """Byte-level BPE of these documents; GPT-2's special token comes last."""
    learned = ByteLevelBPETokenizer(add_prefix_space=False)
    learned.train_from_iterator(DOCUMENTS * 2, vocab_size=VOCABULARY - 1, min_frequency=2, show_progress=False)
    model = json.loads(learned._tokenizer.to_str())["model"]
    vocab = model["vocab"] | {END: len(model["vocab"])}
    merges = [tuple(pair) for pair in model["merges"]]
    return transformers.GPT2TokenizerFast(vocab=vocab, merges=merges)


def train_model(tokenizer):
    """A model that knows the documents nearly by heart, and where they end."""
    torch.manual_seed(3)
    end = tokenizer.eos_token_id
    config = transformers.GPT2Config(
        vocab_size=len(tokenizer), n_positions=48, n_embd=12, n_layer=2, n_head=2, bos_token_id=end, eos_token_id=end
    )
    model = transformers.GPT2LMHeadModel(config).eval()
    rows = [[end, *tokenizer(text)["input_ids"], end][:48] for text in DOCUMENTS]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [end] * (longest - len(row)) for row in rows])
    labels = torch.tensor([row + [-100] * (longest - len(row)) for row in rows])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(600):
        loss = model(ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"loss {loss.item():.3f}")
    return model


def every_character():
    """Texts that have each character of Unicode after a letter, after a space, and twice."""
    for plane in range(0, 0x110000, 0x100):
        block = [chr(c) for c in range(plane, plane + 0x100) if not 0xD800 <= c < 0xE000]
        yield "".join(f"a{c}1 {c}{c}." for c in block)


def fnv(texts, tokenizer):
    state = 0xCBF29CE484222325
    for text in texts:
        for i in tokenizer(text)["input_ids"]:
            for byte in i.to_bytes(4, "little"):
                state = (state ^ byte) * 0x100000001B3 % 2**64
    return f"{state:016x}"


@torch.no_grad()
def generated(model, tokenizer):
    """Greedy, from <|endoftext|> where there is no text; without the prompt and what ends it."""
    texts = []
    for prompt in PROMPTS:
        ids = torch.tensor([tokenizer(prompt)["input_ids"] or [tokenizer.bos_token_id]])
        # Without a mask one would be made of which ids are the padding's.
        every = dict(attention_mask=torch.ones_like(ids), pad_token_id=tokenizer.eos_token_id)
        written = model.generate(ids, max_new_tokens=MOST, do_sample=False, **every)[0][ids.shape[1] :]
        texts.append(tokenizer.decode(written, skip_special_tokens=True, clean_up_tokenization_spaces=False))
    return texts


@torch.no_grad()
def main():
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    for directory in sys.argv[1:]:
        compare(Path(directory))
    if sys.argv[1:]:
        return
    tokenizer = train_tokenizer()
    with torch.enable_grad():
        model = train_model(tokenizer)
    GOLDEN.mkdir(exist_ok=True)
    tokenizer.save_pretrained(GOLDEN)
    model.save_pretrained(GOLDEN)
    tokenizer._tokenizer.model.save(str(GOLDEN))
    tokenizer = transformers.AutoTokenizer.from_pretrained(GOLDEN)
    for text in [*TEXTS, *DOCUMENTS]:
        assert tokenizer.decode(tokenizer(text)["input_ids"], clean_up_tokenization_spaces=False) == text
    read = torch.randint(len(tokenizer), (1, 20), generator=torch.Generator().manual_seed(3))
    written = {
        "ids": [[text, tokenizer(text)["input_ids"]] for text in TEXTS],
        "every": fnv(every_character(), tokenizer),
        "generated": list(zip(PROMPTS, generated(model, tokenizer))),
        "read": read[0].tolist(),
        "logits": [float(f"{v:.6g}") for v in model(read).logits[0, -1].tolist()],
    }
    (GOLDEN / "texts.json").write_text(json.dumps(written, ensure_ascii=False) + "\n")
    for prompt, text in written["generated"]:
        print(f"    {prompt!r} -> {text!r}")


def compare(directory):
    """transformers against seqloom, on a run directory."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model, info = transformers.GPT2LMHeadModel.from_pretrained(directory, output_loading_info=True)
    for what, keys in info.items():
        assert not keys, f"{directory}: {what}: {keys}"
    end = tokenizer.convert_tokens_to_ids(END)
    ids = lambda c: (c.bos_token_id, c.eos_token_id, c.pad_token_id)
    assert ids(tokenizer) == ids(model.config) == ids(model.generation_config) == (end, end, None), ids(model.config)
    wanted = json.loads((GOLDEN / "texts.json").read_text())["ids"]
    if len(tokenizer) == len(transformers.AutoTokenizer.from_pretrained(GOLDEN)):
        assert [[text, tokenizer(text)["input_ids"]] for text, _ in wanted] == wanted
    for prompt, theirs in zip(PROMPTS, generated(model.eval(), tokenizer)):
        command = [PROGRAM, "generate", "--device", "cpu", "--model", directory, "--beam", "1", "--max-tokens", str(MOST)]
        ours = subprocess.run([*command, f"--prompt={prompt}"], check=True, capture_output=True).stdout.decode()
        print(f"    {prompt!r} -> {theirs!r}")
        assert ours == prompt + theirs + "\n", f"seqloom writes {ours!r}"


main()
