"""Opens run directories with transformers and stores what it computes from them.

    pip install torch transformers safetensors
    cargo build --release
    python tests/golden/transformers_check.py

The stored files were made with transformers 5.23.0 and torch 2.15.0 on the CPU.
Another version or processor may change the last bits of the logits.

For each of RUNS it lets seqloom make a run directory, spreads the parameters so
that no term of the model can hide (norms that are not 1, biases that are not 0),
opens the directory with the class that its config.json names, and asserts that
no key is missing, unexpected or of another shape. Beside this file it writes

    transformers/NAME/                what a run directory has for transformers
    transformers/NAME.safetensors     source, target (I32), lengths (I32), logits
    transformers/texts.json           for each NAME: texts, the ids that AutoTokenizer
                                      gives them with and without </s>, and what
                                      generate() makes of them
    transformers/saved_NAME/          the same model as save_pretrained writes it

A run directory that is there already is opened in the same way, and its
translations compared with those of `seqloom translate`; nothing is stored:

    python tests/golden/transformers_check.py runs/mine
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import safetensors.torch
import torch
import transformers

HERE = Path(__file__).parent
PROGRAM = HERE.parent.parent / "target" / "release" / "seqloom"
GOLDEN = HERE / "transformers"
SEED = 5

TEXTS = ["the dog sees a cat", "a cat", "big dogs!", " </s>  ", "ein großer Hund 🐕"]
CORPUS = [
    ("der hund sieht eine katze", "the dog sees a cat"),
    ("ein großer hund liebt die kleine katze", "a big dog loves the small cat"),
    ("die frau sieht den mann heute", "the woman sees the man today"),
    ("der mann und die frau gehen", "the man and the woman go"),
] * 5

# Each is `--set` for a recipe, which differs from the others in all that it can.
SMALL = dict(d_model=8, heads=2, encoder_layers=1, decoder_layers=2, ffn=12)
LARGER = dict(d_model=16, heads=4, encoder_layers=2, decoder_layers=2, ffn=24)
RUNS = {
    "marian": (LARGER, {"tokenizer.kind": "char"}),
    "pegasus": (LARGER, {"model.norm": "pre", "model.activation": "gelu", "tokenizer.vocab_size": 270}),
    "marian_separate": (
        SMALL,
        {
            "tokenizer.kind": "char",
            "tokenizer.shared": "false",
            "model.bias": "false",
            "model.scale_embedding": "false",
            "model.activation": "gelu_new",
            "model.positions": "sinusoidal_split",
            "data.marks": "false",
            "decode.start": "t",
        },
    ),
    "pegasus_untied": (
        SMALL,
        {
            "tokenizer.kind": "word",
            "tokenizer.lowercase": "true",
            "model.norm": "pre",
            "model.tie_embeddings": "false",
            "model.positions": "learned",
        },
    ),
}
# Language models: a text, no pairs.
TEXT = {
    "model.kind": "gpt",
    "data.text": "a.en",
    "tokenizer.kind": "char",
    "train.block": 40,
    "train.batch_size": 4,
}
GPTS = {
    "gpt2": (dict(d_model=16, heads=4, layers=2, ffn=24), TEXT),
    "gpt2_plain": (
        dict(d_model=12, heads=3, layers=3, ffn=20),
        TEXT
        | {
            "tokenizer.kind": "bpe",
            "tokenizer.vocab_size": 270,
            "model.bias": "false",
            "model.tie_embeddings": "false",
            "model.positions": "sinusoidal",
            "model.activation": "gelu_new",
        },
    ),
}
SAVED = {"marian": torch.float16, "pegasus_untied": torch.bfloat16, "gpt2": torch.float16, "gpt2_plain": torch.bfloat16}
FILES = ["config.json", "generation_config.json", "model.safetensors"]
SHARED = ["tokenizer.json", "tokenizer_config.json"]
SEPARATE = ["source_tokenizer.json", "target_tokenizer.json"]


def make(name, sizes, settings):
    """A run directory of a few steps of training, its parameters spread."""
    pairs = {
        "data.source": "a.de",
        "data.target": "a.en",
        "data.max_length": 44,
        "decode.max_length": 20,
        "train.batch_tokens": 400,
    }
    sets = {f"model.{key}": value for key, value in sizes.items()} | {
        "data.valid_fraction": 0.25,
        "train.steps": 20,
        "train.lr": 1e-2,
    }
    sets |= {} if "model.kind" in settings else pairs
    arguments = [f"--set={key}={value}" for key, value in (sets | settings).items()]
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        (place / "a.de").write_text("".join(source + "\n" for source, _ in CORPUS))
        (place / "a.en").write_text("".join(target + "\n" for _, target in CORPUS))
        (place / f"{name}.toml").write_text("")
        command = [PROGRAM.resolve(), "train", f"{name}.toml", "--device", "cpu", "--out", "run", *arguments]
        subprocess.run(command, cwd=place, check=True, capture_output=True)
        spread(place / "run" / "model.safetensors")
        shutil.rmtree(GOLDEN / name, ignore_errors=True)
        (GOLDEN / name).mkdir(parents=True)
        for file in FILES + (SHARED if (place / "run" / SHARED[0]).exists() else SEPARATE):
            shutil.copy(place / "run" / file, GOLDEN / name)


def spread(file):
    config = json.loads((file.parent / "config.json").read_text())["seqloom"]
    tensors = safetensors.torch.load_file(file)
    rng = torch.Generator().manual_seed(SEED)
    for name, tensor in sorted(tensors.items()):
        # Positions that are computed, and zeros in place of what the model has not, stay.
        if not learned(name, config) or name == "final_logits_bias" or not tensor.any() and not config["bias"]:
            continue
        tensor += torch.randn(tensor.shape, generator=rng) * (0.3 if tensor.dim() == 2 else 0.2)
    if "model.shared.weight" in tensors and "model.encoder.embed_tokens.weight" in tensors:
        tensors["model.shared.weight"] = tensors["model.encoder.embed_tokens.weight"].clone()
    # Sorted as seqloom's own are, so that reading and writing gives the same bytes.
    safetensors.torch.save_file(tensors, file, metadata={"format": "pt"})


def learned(name, config):
    return not ("embed_positions" in name or ".wpe." in name) or config["positions"] == "learned"


def open_run(directory):
    """The model, its class asked for by name, with nothing missing or left over."""
    named = json.loads((directory / "config.json").read_text())["architectures"]
    model, info = getattr(transformers, named[0]).from_pretrained(directory, output_loading_info=True)
    for what, keys in info.items():
        assert not keys, f"{directory}: {what}: {keys}"
    kinds = transformers.AutoModelForCausalLM, transformers.AutoModelForSeq2SeqLM
    auto = kinds[model.config.is_encoder_decoder].from_pretrained(directory)
    assert type(auto) is type(model)
    stored = safetensors.torch.load_file(directory / "model.safetensors")
    state = model.state_dict()
    for name, tensor in stored.items():
        assert torch.equal(state[name], tensor), f"{directory}: {name} is not what was stored"
    print(f"{directory}: {type(model).__name__}, {len(stored)} tensors, nothing missing or unexpected")
    return model.eval()


def open_tokenizers(directory):
    """For both sides. transformers finds a shared one by itself."""
    if (directory / SHARED[0]).exists():
        tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
        return tokenizer, tokenizer
    special = dict(pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>", split_special_tokens=True)
    inputs = dict(model_input_names=["input_ids", "attention_mask"])
    return tuple(
        transformers.PreTrainedTokenizerFast(tokenizer_file=str(directory / file), **special, **inputs) for file in SEPARATE
    )


@torch.no_grad()
def reference(directory):
    """Logits for sources of unequal length, and what the tokenizer and generate() say."""
    model, (source, target) = open_run(directory), open_tokenizers(directory)
    if not model.config.is_encoder_decoder:
        return language(model, source)
    batch = source([text for text, _ in CORPUS[:3]], padding=True, return_tensors="pt")
    rng = torch.Generator().manual_seed(SEED)
    read = torch.randint(4, len(target), (3, 7), generator=rng)
    read[:, 0] = model.config.decoder_start_token_id
    logits = model(**batch, decoder_input_ids=read).logits
    assert logits.isfinite().all()
    tensors = {
        "source": batch["input_ids"].int(),
        "lengths": batch["attention_mask"].sum(1).int(),
        "target": read.int(),
        "logits": logits.contiguous(),
    }
    words = [source(text)["input_ids"] for text in TEXTS]
    plain = [source(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    end = [model.config.eos_token_id] if model.config.seqloom["marks"] else []
    assert words == [ids + end for ids in plain]
    inputs = source(TEXTS, padding=True, return_tensors="pt")
    generated = target.batch_decode(model.generate(**inputs), skip_special_tokens=True)
    return tensors, dict(texts=TEXTS, ids=plain, generated=generated)


def language(model, tokenizer):
    """Logits of a language model for ids of any kind, and how it goes on with texts."""
    rng = torch.Generator().manual_seed(SEED)
    read = torch.randint(4, len(tokenizer), (3, 7), generator=rng)
    logits = model(read).logits
    assert logits.isfinite().all()
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    greedy = dict(max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=0)
    new = [model.generate(torch.tensor([i]), **greedy)[0][len(i) :] for i in ids]
    generated = [tokenizer.decode(i, skip_special_tokens=True) for i in new]
    tensors = {"target": read.int(), "logits": logits.contiguous()}
    return tensors, dict(texts=TEXTS, ids=ids, generated=generated)


def save(name, dtype):
    """As transformers writes it: in halves, in shards, a Marian without its positions."""
    directory = GOLDEN / f"saved_{name}"
    shutil.rmtree(directory, ignore_errors=True)
    open_run(GOLDEN / name).to(dtype).save_pretrained(directory, max_shard_size="8KB")
    open_tokenizers(GOLDEN / name)[0].save_pretrained(directory)


def main():
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    if sys.argv[1:]:
        for directory in sys.argv[1:]:
            generated = reference(Path(directory))[1]["generated"]
            lines = "".join(text + "\n" for text in TEXTS).encode()
            command = [PROGRAM, "translate", "--device", "cpu", "--model", directory]
            if "GPT2" in (Path(directory) / "config.json").read_text():
                for text, theirs in zip(TEXTS, generated):
                    flags = ["--beam", "1", "--max-tokens", "12", "--prompt", text]
                    ours = subprocess.run([PROGRAM, "generate", *command[2:], *flags], check=True, capture_output=True)
                    ours = ours.stdout.decode()[len(text) : -1]
                    print(f"    {text!r} -> {theirs!r}")
                    assert theirs == ours, f"seqloom writes {ours!r}"
                continue
            translated = subprocess.run(command, input=lines, check=True, capture_output=True).stdout.decode()
            for text, theirs, ours in zip(TEXTS, generated, translated.split("\n")):
                print(f"    {text!r} -> {theirs!r}")
                assert theirs == ours, f"seqloom translates {ours!r}"
        return
    texts = {}
    for name, (sizes, settings) in (RUNS | GPTS).items():
        make(name, sizes, settings)
        tensors, texts[name] = reference(GOLDEN / name)
        assert tensors["logits"].std() > 0.5, "logits that are all alike hide mistakes"
        safetensors.torch.save_file(tensors, GOLDEN / f"{name}.safetensors")
    for name, dtype in SAVED.items():
        save(name, dtype)
    (GOLDEN / "texts.json").write_text(json.dumps(texts, indent=1, ensure_ascii=False) + "\n")


main()
