//! Corpus chrF2, the character n-gram F-score (Popović, 2015, "chrF: character n-gram F-score for automatic MT
//! evaluation") with one reference per segment, computed the way sacrebleu does by default (Post, 2018, "A Call for
//! Clarity in Reporting BLEU Scores").

use super::bleu::{clipped_matches, is_space};

/// The settings of [`corpus_chrf`] in sacrebleu's notation (Post, 2018); `version` is the release whose numbers the
/// tests compare with.
pub const CHRF_SIGNATURE: &str = "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0";

/// The longest character n-gram counted (Popović, 2015).
const MAX_ORDER: usize = 6;

/// How many times as much recall weighs as precision (Popović, 2016, "chrF deconstructed: beta parameters and n-gram
/// weights").
const BETA: f64 = 2.0;

/// Corpus chrF2 of `hypotheses` against one reference each, 0 to 100: precision and recall are averaged over the n-gram
/// orders, and the F-score is that of the averages (Popović, 2015).
///
/// # Panics
///
/// If there are not as many references as hypotheses.
pub fn corpus_chrf<S: AsRef<str>>(hypotheses: &[S], references: &[S]) -> f64 {
    assert_eq!(hypotheses.len(), references.len(), "one reference per hypothesis");
    let (mut matches, mut hypothesis_totals, mut reference_totals) = ([0; MAX_ORDER], [0; MAX_ORDER], [0; MAX_ORDER]);
    for (hypothesis, reference) in hypotheses.iter().zip(references) {
        let (hypothesis, reference) = (letters(hypothesis.as_ref()), letters(reference.as_ref()));
        for n in 1..=MAX_ORDER {
            let reference_ngrams = reference.windows(n).len();
            // In a segment whose reference is too short for this order, no hypothesis could match, and none is charged.
            if reference_ngrams > 0 {
                matches[n - 1] += clipped_matches(&hypothesis, &reference, n);
                hypothesis_totals[n - 1] += hypothesis.windows(n).len();
                reference_totals[n - 1] += reference_ngrams;
            }
        }
    }

    // The averages are over the orders that both sides have n-grams of (`eff:yes`). As counted above, n-grams of the
    // hypotheses imply n-grams of the references.
    let (mut precision, mut recall, mut orders) = (0.0, 0.0, 0.0);
    for n in 0..MAX_ORDER {
        if hypothesis_totals[n] > 0 {
            precision += matches[n] as f64 / hypothesis_totals[n] as f64;
            recall += matches[n] as f64 / reference_totals[n] as f64;
            orders += 1.0;
        }
    }
    // Both are 0 or neither is, since they count the same matches.
    if precision == 0.0 {
        return 0.0;
    }
    let (precision, recall) = (precision / orders, recall / orders);
    let weight = BETA * BETA;
    100.0 * (1.0 + weight) * precision * recall / (weight * precision + recall)
}

/// The characters of a segment without its white space (`space:no`), so that n-grams run across words.
fn letters(segment: &str) -> Vec<char> {
    segment.chars().filter(|&c| !is_space(c)).collect()
}
