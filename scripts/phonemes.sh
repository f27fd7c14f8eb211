#!/usr/bin/env bash
# Makes phonemes.train.tsv and phonemes.valid.tsv of CMUdict (https://github.com/cmusphinx/cmudict): words of the letters a
# to z, their first pronunciation without stress marks, letters TAB phonemes with spaces between. Every 20th word of the
# sorted list is held out.
set -euo pipefail
if [ $# -ne 2 ] || [ ! -r "$1" ] || [ ! -d "$2" ]; then
    echo "usage: scripts/phonemes.sh cmudict.dict DIRECTORY" >&2
    exit 2
fi
LC_ALL=C grep -E '^[a-z]+ ' "$1" | LC_ALL=C sort -u -k1,1 | awk -v to="$2" '
    {
        sub(/ *#.*/, "")
        letters = substr($1, 1, 1)
        for (i = 2; i <= length($1); i++) letters = letters " " substr($1, i, 1)
        phonemes = $2
        for (i = 3; i <= NF; i++) phonemes = phonemes " " $i
        gsub(/[0-9]/, "", phonemes)
        print letters "\t" phonemes > (to "/phonemes." (NR % 20 == 0 ? "valid" : "train") ".tsv")
    }'
wc -l "$2/phonemes.train.tsv" "$2/phonemes.valid.tsv"
