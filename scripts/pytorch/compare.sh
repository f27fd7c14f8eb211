#!/usr/bin/env bash
# Trains one model twice, with seqloom and with PyTorch, from the same weights on the same batches; then draws both
# curves and compares. See README.md beside this file.
#
#   scripts/pytorch/compare.sh DATA_DIR OUT_DIR [STEPS|MINUTESm] [arguments of 'seqloom train' …]
set -euo pipefail
if [ $# -lt 2 ]; then
    sed -n '2,5s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
data=$(realpath "$1")
out=$(realpath -m "$2")
length=${3:-1000}
shift $(($# < 3 ? $# : 3))
cd "$(dirname "$0")/../.."
here=scripts/pytorch
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")

step() { printf '\n== %s\n' "$*"; }

step 'build'
cargo build --release --bin seqloom --example batches
seqloom=$target/release/seqloom
venv=$target/venv-pytorch
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --requirement $here/requirements.txt

mkdir -p "$out/data"
for file in {train,val,test_2016_flickr}.{de,en}; do
    if [ -f "$data/$file.gz" ]; then
        gunzip -c "$data/$file.gz" >"$out/data/$file"
    else
        cp "$data/$file" "$out/data/$file"
    fi
done

step 'seqloom'
train=("$seqloom" train $here/multi30k.toml --out "$out/seqloom"
    --set "data.source=$out/data/train.de" --set "data.target=$out/data/train.en"
    --set "data.valid_source=$out/data/val.de" --set "data.valid_target=$out/data/val.en" "$@")
if [ "${length%m}" = "$length" ]; then
    "${train[@]}" --set "train.steps=$length"
elif [ -d "$out/seqloom/checkpoints" ]; then
    echo "$out/seqloom has had its time; remove it to start over"
else
    timeout --preserve-status --signal=INT "$length" "${train[@]}" --set train.steps=1000000
fi

step 'PyTorch'
rm -rf "$out/batches"
"$target/release/examples/batches" "$out/seqloom" "$out/batches"
"$venv/bin/python" $here/train.py "$out/batches" "$out/pytorch"

step 'comparison'
"$venv/bin/python" $here/plot.py "$out/seqloom/metrics.jsonl" "$out/pytorch/metrics.jsonl" "$out/loss.svg" |
    tee "$out/comparison.md"

# PyTorch's parameters have our names: with the rest of the run's directory they decode here.
for file in recipe.toml tokenizer.json tokenizer_config.json config.json generation_config.json; do
    cp "$out/seqloom/$file" "$out/pytorch/"
done
for model in seqloom pytorch; do
    step "$model on test_2016_flickr"
    "$seqloom" evaluate --model "$out/$model" --source "$out/data/test_2016_flickr.de" \
        --reference "$out/data/test_2016_flickr.en" --json | tee "$out/$model/test_2016_flickr.json"
    head -n 10 "$out/data/test_2016_flickr.de" | "$seqloom" translate --model "$out/$model" >"$out/$model/ten.en"
done

step 'ten translations: source, seqloom, PyTorch, reference'
head -n 10 "$out/data/test_2016_flickr.de" |
    paste -d '\n' - "$out/seqloom/ten.en" "$out/pytorch/ten.en" <(head -n 10 "$out/data/test_2016_flickr.en") |
    sed '4~4G' | tee "$out/translations.txt"
echo "the picture is $out/loss.svg"
