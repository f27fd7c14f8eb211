"""Writes sacrebleu.json, the scores and tokens that tests/sacrebleu.rs compares with.

python3 -m venv target/venv-sacrebleu
target/venv-sacrebleu/bin/pip install sacrebleu==2.6.0
target/venv-sacrebleu/bin/python tests/golden/sacrebleu.py
"""

import json
import random
import sys
from pathlib import Path

# This file has the package's name, so its own folder must not be searched for imports.
HERE = Path(__file__).resolve().parent
sys.path = [folder for folder in sys.path if Path(folder).resolve() != HERE]

import sacrebleu  # noqa: E402
from sacrebleu.metrics import BLEU, CHRF  # noqa: E402
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a  # noqa: E402

SENTENCES = """\
The cat sat on the mat and looked out of the window.
Heavy rain fell on the coast for three days in a row.
"Where did you put the keys?" she asked, without turning round.
Prices rose by 3.5% in March, compared with 2.75% a year earlier.
The committee will meet again at 10:30 on Tuesday, 14 May.
Our train to Lyon was cancelled; the next one left at noon.
He paid $1,299.99 for a bicycle that was worth half as much.
It's the neighbours' dog that barks, isn't it?
Nobody knew who had written the letter (or why).
The U.S.A. and the U.K. signed the treaty in 1994-95.
Water boils at 100 degrees; on a mountain it boils at less.
Please send your answer to office@example.org by Friday.
A small, well-kept garden lay behind the red-brick house.
They lost 3-4 after leading 3-0 at half-time.
If you can read this, the sign is too small...
Die Straße ist wegen der Überschwemmung für den Verkehr gesperrt.
Er sagte: »Ich möchte über die Brücke gehen, aber sie wackelt.«
Die Äpfel kosten 2,49 Euro pro Kilo, die Birnen etwas mehr.
Am 3. Oktober bleiben alle Geschäfte geschlossen.
Viele Grüße aus Köln, Düsseldorf und München!
« Où est passé l’été ? » demanda-t-elle en fermant les volets.
Le garçon a mangé un gâteau à la crème brûlée.
L'œuvre fut achevée en 1873, vingt ans après la mort du maître.
El niño preguntó: ¿cuándo llegará el tren de las 8.15?
¡Qué sorpresa! No esperábamos a nadie hasta mañana.
Il prezzo è salito a 1.250,00 euro, cioè il 12 % in più.
Prašina je pokrivala sve knjige u staroj čitaonici.
Zażółć gęślą jaźń, powiedział nauczyciel i zamknął dziennik.
Поезд отправляется в 7:45 с третьего пути.
Η γάτα κοιμάται κάτω από το τραπέζι.
猫坐在垫子上，看着窗外的雨。
東京は今日も雨が降っています。
오늘은 날씨가 맑고 바람이 붑니다.
The file is in C:/data/2024, under results_v2.tar.gz.
Set x = 5 * (y + 3) / z, then repeat until |x| < 0.001.
AT&T and Marks & Spencer share a building on 5th Avenue.
She has read "War and Peace" twice, both times on holiday.
More than 1,000,000 people live within 20 km of the volcano.
Mr. Smith and Dr. Jones arrived at 9 a.m. sharp.
The old bridge, built in 1888, was closed for repairs.
Two men and a woman are waiting for the bus.
A child in a yellow coat jumps over a puddle.
The children of the village sang the songs of the sea.
We have not yet decided, and we will not decide today.
There are fewer birds in the valley than there were ten years ago.
The minister denied - once again - that taxes would go up.
You should have told me that before we left home!
Half of the seats were empty; the other half were broken.
After the storm the fishermen counted their boats: all nine were there.
The more he practised, the worse it sounded.
Snow.
No, thank you.
""".splitlines()

LINES = SENTENCES + [
    "",
    " ",
    ".",
    "...",
    "a..b,,c.,d",
    ".5 5. ,5 5, 5.5 5,5 5.a a.5",
    "1,000.5 1.000,5 1,000.",
    "3-4 3--4 a-b 3-b a-3 -3 3-",
    "U.S.A. and e.g. i.e., etc.",
    "don't 'quoted' dogs' rock'n'roll",
    "&quot;quoted&quot; &amp; &lt;tag&gt;",
    "&amp;lt; &amp;quot; &amp;amp; &lt;skipped&gt; &apos; &#39; &nbsp;",
    "before <skipped> after<skipped>",
    "hyphen-\nated and a plain\nbreak",
    "carriage\r\nreturn and dash-\r\n",
    "  leading,\ttabs\t\tand   trailing.  \t",
    "no\u00a0break, thin\u2009space, ideographic\u3000space, zero\u200bwidth",
    "separators\x1c\x1d\x1e\x1fand\x0b\x0cand\x85lines\u2028here\u2029now",
    "«guillemets» „Gänsefüßchen“ “curly” ‘single’ – — …",
    "全角：１，２３４．５「引用」。",
    "٣.٥ ३,५ x².y ½.5",
    "emoji 👩‍👩‍👧.🙂,🙂 e\u0301.e\u0301",
    "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
    "a!b\"c#d$e%f&g'h(i)j*k+l,m-n.o/p:q;r<s=t>u?v@w[x\\y]z^0_1`2{3|4}5~6",
]


def perturb(rng, sentence):
    """Makes a hypothesis out of a reference by zero to five small edits."""
    words = sentence.split()
    for _ in range(rng.randrange(6)):
        i = rng.randrange(len(words))
        edit = rng.randrange(6)
        if edit == 0 and len(words) > 1:
            del words[i]
        elif edit == 1:
            words.insert(i, words[rng.randrange(len(words))])
        elif edit == 2:
            words[i] = rng.choice(rng.choice(SENTENCES).split())
        elif edit == 3 and i > 0:
            words[i - 1], words[i] = words[i], words[i - 1]
        elif edit == 4:
            words[i] = words[i].rstrip(".,;!?")[:-1] + "s"
        else:
            words[i] = words[i].swapcase()
    return " ".join(words)


def noise(rng, pieces, longest):
    """A line of random pieces."""
    return "".join(rng.choice(pieces) for _ in range(rng.randrange(longest + 1)))


def corpora():
    """Name, hypotheses and references of every corpus."""
    rng = random.Random(13)
    perturbed = [perturb(rng, sentence) for sentence in SENTENCES]
    pieces = list("ab01.,-'& \t\n") + ["&amp;", "&lt;", "<skipped>", "-\n", "é", "。", "\u00a0", "\x1c", "12", "the "]
    noisy = [noise(rng, pieces, 40) for _ in range(40)]
    return [
        ("perfect match", SENTENCES, SENTENCES),
        ("perturbed", perturbed, SENTENCES),
        ("perturbed, sides exchanged", SENTENCES, perturbed),
        ("shuffled", rng.sample(SENTENCES, len(SENTENCES)), SENTENCES),
        ("all hypotheses empty", ["", " ", "\t"], SENTENCES[:3]),
        ("some hypotheses empty", ["", SENTENCES[1], ""], SENTENCES[:3]),
        ("all references empty", SENTENCES[:2], ["", "  "]),
        ("some references empty", SENTENCES[:3], ["", SENTENCES[1], ""]),
        ("all empty", ["", ""], ["", " "]),
        ("no match", ["xyz uvw xyz uvw xyz"], ["the cat sat on the mat"]),
        ("no 4-gram match", ["the cat sat under the mat by a door"], ["the cat sat on the mat near a door"]),
        ("no 3-gram match", ["the cat was on the big mat"], ["the cat sat on the mat"]),
        ("only 1-grams match", ["mat the on sat cat the"], ["the cat sat on the mat"]),
        ("one word", ["Snow"], ["Snow"]),
        ("three words", ["No thank you"], ["No thank you"]),
        (
            "short and long",
            ["Snow.", "No, thanks.", "We will not decide today."],
            [SENTENCES[-2], SENTENCES[-1], SENTENCES[43]],
        ),
        ("reference shorter than the character order", ["snowflake", "ice"], ["snow", "icecream"]),
        (
            "precision halfway between two decimals",
            ["a b c d e f g h i j k l m n o p"],
            ["a z z z z z z z z z z z z z z z"],
        ),
        (
            "punctuation and numbers",
            [
                "It cost 1,000.5 dollars in the U.S.A., up 3-4 %.",
                "Call 555-1234 (ext. 7)...",
                "He said: 'no', didn't he?",
            ],
            [
                "It cost 1,000.50 dollars in the USA, up 3 - 4%.",
                "Call 555-1234, ext. 7 ...",
                'He said: "no", did not he?',
            ],
        ),
        (
            "entities",
            ["&quot;Fish &amp; chips&quot; is &lt;b&gt;good&lt;/b&gt;", "1 &amp;lt; 2 &amp; 3", "x <skipped> y z w"],
            ['"Fish & chips" is <b>good</b>', "1 &lt; 2 & 3", "x y z w"],
        ),
        (
            "other scripts",
            [
                "Er hörte „Für Elise“ im Café.",
                "« Ça va ? » dit-il, l’air gêné.",
                "猫坐在垫子上，看着雨。",
                "東京は雨です。",
            ],
            [
                "Er hörte »Für Elise« in dem Café.",
                "«Ça va?» dit-elle, l'air gêné.",
                "猫坐在垫子上，看着窗外的雨。",
                "東京は今日も雨です。",
            ],
        ),
        (
            "white space",
            [
                "  two  men\tand a   woman  ",
                "no\u00a0break and\u3000wide\n",
                "joined-\nword and final dash-\n",
                "a\x1cb\x1dc d\x85e",
            ],
            ["two men and a woman", "no break and wide", "joinedword and final dash-", "a b c d e"],
        ),
        (
            "hypotheses longer",
            [
                "The old bridge, which was built in 1888, was closed for long repairs again.",
                "No no no no, thank you you.",
            ],
            ["The old bridge, built in 1888, was closed for repairs.", "No, thank you."],
        ),
        (
            "hypotheses shorter",
            ["The bridge was closed for repairs.", "Two men are waiting."],
            ["The old bridge, built in 1888, was closed for repairs.", "Two men and a woman are waiting for the bus."],
        ),
        ("case differs", ["THE CAT sat on The mat."], ["The cat sat on the mat."]),
        ("noise", noisy, noisy[1:] + noisy[:1]),
    ]


def score(name, hypotheses, references):
    """What sacrebleu says about one corpus, in full precision."""
    bleu = BLEU().corpus_score(hypotheses, [references])
    return {
        "name": name,
        "hypotheses": hypotheses,
        "references": references,
        "bleu": bleu.score,
        "precisions": bleu.precisions,
        "brevity_penalty": bleu.bp,
        "hypothesis_length": bleu.sys_len,
        "reference_length": bleu.ref_len,
        "line": str(bleu),
        "chrf": CHRF().corpus_score(hypotheses, [references]).score,
        "bleu_lowercase": BLEU(lowercase=True).corpus_score(hypotheses, [references]).score,
        "chrf_lowercase": CHRF(lowercase=True).corpus_score(hypotheses, [references]).score,
    }


def signature(metric):
    """The metric's signature, which sacrebleu knows once it has scored something."""
    metric.corpus_score(["a"], [["a"]])
    return str(metric.get_signature())


def main():
    tokenize = Tokenizer13a()
    golden = {
        "bleu_signature": signature(BLEU()),
        "bleu_lowercase_signature": signature(BLEU(lowercase=True)),
        "chrf_signature": signature(CHRF()),
        "tokenized": [{"line": line, "tokens": tokenize(line).split()} for line in LINES],
        "corpora": [score(*corpus) for corpus in corpora()],
    }
    path = HERE / "sacrebleu.json"
    path.write_text(json.dumps(golden, indent=1) + "\n", encoding="ascii")
    print(f"{path.name}: sacrebleu {sacrebleu.__version__}, {len(golden['corpora'])} corpora, {len(LINES)} lines")


if __name__ == "__main__":
    main()
