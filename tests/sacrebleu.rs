//! BLEU and chrF against numbers printed by sacrebleu itself; tests/golden/sacrebleu.py makes them.

use seqloom::text::bleu::{BLEU_LOWERCASE_SIGNATURE, BLEU_SIGNATURE, corpus_bleu, tokenize_13a};
use seqloom::text::chrf::{CHRF_SIGNATURE, corpus_chrf};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    bleu_signature: String,
    bleu_lowercase_signature: String,
    chrf_signature: String,
    tokenized: Vec<Tokenized>,
    corpora: Vec<Corpus>,
}

#[derive(Deserialize)]
struct Tokenized {
    line: String,
    tokens: Vec<String>,
}

#[derive(Deserialize)]
struct Corpus {
    name: String,
    hypotheses: Vec<String>,
    references: Vec<String>,
    bleu: f64,
    precisions: [f64; 4],
    brevity_penalty: f64,
    hypothesis_length: usize,
    reference_length: usize,
    line: String,
    chrf: f64,
    bleu_lowercase: f64,
    chrf_lowercase: f64,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden/sacrebleu.json")).expect("the golden file fits these structs")
}

/// Scores are up to 100, so this leaves a few units in the last place of some sums and logarithms, and no more.
#[track_caller]
fn assert_close(got: f64, want: f64, what: &str) {
    assert!((got - want).abs() <= 1e-10, "{what}: {got}, but sacrebleu says {want}");
}

#[test]
fn signatures_are_sacrebleus() {
    let golden = golden();
    assert_eq!(BLEU_SIGNATURE, golden.bleu_signature);
    assert_eq!(BLEU_LOWERCASE_SIGNATURE, golden.bleu_lowercase_signature);
    assert_eq!(CHRF_SIGNATURE, golden.chrf_signature);
}

#[test]
fn lines_are_tokenized_alike() {
    for Tokenized { line, tokens } in golden().tokenized {
        assert_eq!(tokenize_13a(&line), tokens, "{line:?}");
    }
}

#[test]
fn bleu_is_alike() {
    for corpus in golden().corpora {
        let name = &corpus.name;
        let bleu = corpus_bleu(&corpus.hypotheses, &corpus.references);
        assert_eq!(bleu.hypothesis_length, corpus.hypothesis_length, "{name}");
        assert_eq!(bleu.reference_length, corpus.reference_length, "{name}");
        assert_close(bleu.brevity_penalty, corpus.brevity_penalty, name);
        for (got, want) in bleu.precisions.into_iter().zip(corpus.precisions) {
            assert_close(got, want, name);
        }
        assert_close(bleu.score, corpus.bleu, name);
        assert_eq!(bleu.to_string(), corpus.line, "{name}");
    }
}

#[test]
fn chrf_is_alike() {
    for corpus in golden().corpora {
        assert_close(corpus_chrf(&corpus.hypotheses, &corpus.references), corpus.chrf, &corpus.name);
    }
}

/// What is lower-cased here is what sacrebleu lower-cases.
#[test]
fn lower_case_is_alike() {
    for corpus in golden().corpora {
        let lower = |lines: &[String]| lines.iter().map(|line| line.to_lowercase()).collect::<Vec<_>>();
        let (hypotheses, references) = (lower(&corpus.hypotheses), lower(&corpus.references));
        assert_close(corpus_bleu(&hypotheses, &references).score, corpus.bleu_lowercase, &corpus.name);
        assert_close(corpus_chrf(&hypotheses, &references), corpus.chrf_lowercase, &corpus.name);
    }
}

#[test]
fn a_corpus_without_segments_scores_nothing() {
    assert_eq!(corpus_bleu::<&str>(&[], &[]).score, 0.0);
    assert_eq!(corpus_chrf::<&str>(&[], &[]), 0.0);
}

#[test]
#[should_panic(expected = "one reference per hypothesis")]
fn bleu_refuses_a_missing_reference() {
    corpus_bleu(&["a", "b"], &["a"]);
}

#[test]
#[should_panic(expected = "one reference per hypothesis")]
fn chrf_refuses_a_missing_reference() {
    corpus_chrf(&["a", "b"], &["a"]);
}
