//! Corpus BLEU (Papineni et al., 2002, "BLEU: a Method for Automatic Evaluation of Machine Translation") with one
//! reference per segment, computed the way sacrebleu does by default (Post, 2018, "A Call for Clarity in Reporting
//! BLEU Scores"), so that scores can be compared with published ones.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;

/// The settings of [`corpus_bleu`] in sacrebleu's notation (Post, 2018); `version` is the release whose numbers the
/// tests compare with.
pub const BLEU_SIGNATURE: &str = "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0";

/// The same when hypotheses and references have been lower-cased.
pub const BLEU_LOWERCASE_SIGNATURE: &str = "nrefs:1|case:lc|eff:no|tok:13a|smooth:exp|version:2.6.0";

/// The longest n-gram counted: the N = 4 of Papineni et al. (2002, section 2.3).
const MAX_ORDER: usize = 4;

/// A corpus BLEU score and what it was made of (Papineni et al., 2002, section 2.3).
///
/// Displayed, it is the line sacrebleu prints.
#[derive(Clone, Debug, PartialEq)]
pub struct Bleu {
    /// Brevity penalty times the geometric mean of the precisions, 0 to 100.
    pub score: f64,
    /// Clipped n-gram precisions for n = 1 to 4 after smoothing, in percent.
    pub precisions: [f64; MAX_ORDER],
    /// Factor of at most 1 for hypotheses that are shorter than their references.
    pub brevity_penalty: f64,
    /// Tokens in all hypotheses.
    pub hypothesis_length: usize,
    /// Tokens in all references.
    pub reference_length: usize,
}

impl fmt::Display for Bleu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p1, p2, p3, p4] = self.precisions;
        let (hyp_len, ref_len) = (self.hypothesis_length, self.reference_length);
        let ratio = if ref_len == 0 { 0.0 } else { hyp_len as f64 / ref_len as f64 };
        write!(f, "BLEU = {:.2} {p1:.1}/{p2:.1}/{p3:.1}/{p4:.1} ", self.score)?;
        write!(f, "(BP = {:.3} ratio = {ratio:.3} hyp_len = {hyp_len} ref_len = {ref_len})", self.brevity_penalty)
    }
}

/// Corpus BLEU of detokenised `hypotheses` against one reference each: n-grams are counted per segment, summed over the
/// corpus, and only then made into precisions (Papineni et al., 2002, section 2.1.1).
///
/// # Panics
///
/// If there are not as many references as hypotheses.
pub fn corpus_bleu<S: AsRef<str>>(hypotheses: &[S], references: &[S]) -> Bleu {
    assert_eq!(hypotheses.len(), references.len(), "one reference per hypothesis");
    let (mut hypothesis_length, mut reference_length) = (0, 0);
    let (mut matches, mut totals) = ([0; MAX_ORDER], [0; MAX_ORDER]);
    for (hypothesis, reference) in hypotheses.iter().zip(references) {
        // Trimmed first, because a final "-\n" would otherwise lose its dash to the joining of hyphenated lines.
        let hypothesis = tokenize_13a(hypothesis.as_ref().trim_end_matches(is_space));
        let reference = tokenize_13a(reference.as_ref().trim_end_matches(is_space));
        hypothesis_length += hypothesis.len();
        reference_length += reference.len();
        for n in 1..=MAX_ORDER {
            matches[n - 1] += clipped_matches(&hypothesis, &reference, n);
            totals[n - 1] += hypothesis.windows(n).len();
        }
    }

    let precisions = smoothed_precisions(&matches, &totals);
    let brevity_penalty = if hypothesis_length < reference_length {
        // No hypothesis token at all gives exp(-inf) = 0.
        (1.0 - reference_length as f64 / hypothesis_length as f64).exp()
    } else {
        1.0
    };
    // A precision of 0 has the logarithm -inf, which makes the geometric mean 0 as it should be.
    let geometric_mean = (precisions.iter().map(|p| p.ln()).sum::<f64>() / MAX_ORDER as f64).exp();
    Bleu { score: brevity_penalty * geometric_mean, precisions, brevity_penalty, hypothesis_length, reference_length }
}

/// Precisions in percent under the "exp" smoothing of NIST's mteval-v13a, which is method 3 of Chen and Cherry (2014,
/// "A Systematic Comparison of Smoothing Techniques for Sentence-Level BLEU"): the k-th order without a match counts as
/// 1 / 2^k of a match.
fn smoothed_precisions(matches: &[usize; MAX_ORDER], totals: &[usize; MAX_ORDER]) -> [f64; MAX_ORDER] {
    let mut precisions = [0.0; MAX_ORDER];
    // Without a common word there is nothing to smooth: the score is to be 0.
    if matches[0] == 0 {
        return precisions;
    }
    let mut smoothed = 1.0;
    for ((precision, &matched), &total) in precisions.iter_mut().zip(matches).zip(totals) {
        // Every hypothesis is too short for this order. Its precision stays 0, and with it the score, because the
        // number of orders is not adapted to the corpus (`eff:no`).
        if total == 0 {
            break;
        }
        let credit = if matched == 0 {
            smoothed /= 2.0;
            smoothed
        } else {
            matched as f64
        };
        *precision = 100.0 * credit / total as f64;
    }
    precisions
}

/// How many n-grams of `hypothesis` occur in `reference`, each at most as often as it occurs there: the modified n-gram
/// count of Papineni et al. (2002, section 2.1).
pub(super) fn clipped_matches<T: Eq + Hash>(hypothesis: &[T], reference: &[T], n: usize) -> usize {
    let mut left = HashMap::new();
    for ngram in reference.windows(n) {
        *left.entry(ngram).or_insert(0_usize) += 1;
    }
    let mut matched = 0;
    for ngram in hypothesis.windows(n) {
        if let Some(count) = left.get_mut(ngram).filter(|count| **count > 0) {
            *count -= 1;
            matched += 1;
        }
    }
    matched
}

/// The tokens of one line under "13a", the rules of NIST's mteval-v13a.pl for Western languages as sacrebleu applies
/// them (Post, 2018).
pub fn tokenize_13a(line: &str) -> Vec<String> {
    let line = line.replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    // In this order, so that "&amp;lt;" is unescaped twice and "&amp;quot;" once.
    let line = line.replace("&quot;", "\"").replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">");

    // The spaces at the ends stand in as the neighbours that the rules below ask for.
    let mut spaced = String::from(" ");
    for c in line.chars() {
        if is_separate(c) {
            spaced.extend([' ', c, ' ']);
        } else {
            spaced.push(c);
        }
    }
    spaced.push(' ');

    let digit = |c: char| c.is_ascii_digit();
    let stop = |c: char| matches!(c, '.' | ',');
    let line = space_pairs(&spaced, |a, b| !digit(a) && stop(b), ["", " ", " "]);
    let line = space_pairs(&line, |a, b| stop(a) && !digit(b), [" ", " ", ""]);
    let line = space_pairs(&line, |a, b| digit(a) && b == '-', ["", " ", " "]);
    line.split(is_space).filter(|token| !token.is_empty()).map(String::from).collect()
}

/// ASCII punctuation that is a token wherever it stands. Apostrophes never are, and comma, full stop and dash depend on
/// their neighbours.
fn is_separate(c: char) -> bool {
    c.is_ascii_punctuation() && !matches!(c, '\'' | ',' | '-' | '.')
}

/// Puts `around` before, between and after the characters of each pair that `matches`. As in a regular expression
/// substitution, pairs are found from the left and share no character, which decides what happens to runs like "...".
fn space_pairs(line: &str, matches: impl Fn(char, char) -> bool, around: [&str; 3]) -> String {
    let [before, between, after] = around;
    let mut out = String::with_capacity(2 * line.len());
    let mut chars = line.chars().peekable();
    while let Some(a) = chars.next() {
        if let Some(b) = chars.next_if(|&b| matches(a, b)) {
            out.push_str(before);
            out.push(a);
            out.push_str(between);
            out.push(b);
            out.push_str(after);
        } else {
            out.push(a);
        }
    }
    out
}

/// White space as Python splits it, on which sacrebleu relies: Unicode's, and the four ASCII information separators.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\x1c'..='\x1f')
}
