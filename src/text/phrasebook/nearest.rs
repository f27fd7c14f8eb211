//! The baseline that understands nothing: the translation of the most similar training sentence.

use std::collections::HashMap;

/// The translation of the training sentence nearest to each source: the largest F1 over the counts of words, and of
/// equals the first. Case and punctuation do not count.
///
/// # Panics
/// If there is no training sentence.
pub fn nearest_translations(train: &[(String, String)], sources: &[&str]) -> Vec<String> {
    assert!(!train.is_empty(), "the nearest of no sentences does not exist");
    let mut lengths = Vec::with_capacity(train.len());
    let mut index: HashMap<String, Vec<(u32, u32)>> = HashMap::new();
    for (nth, (source, _)) in train.iter().enumerate() {
        let counts = word_counts(source);
        lengths.push(counts.values().sum::<u32>());
        for (word, count) in counts {
            index.entry(word).or_default().push((nth as u32, count));
        }
    }
    let nearest = |source: &&str| {
        let counts = word_counts(source);
        let length: u32 = counts.values().sum();
        let mut shared = vec![0; train.len()];
        for (word, count) in &counts {
            for &(nth, other) in index.get(word).into_iter().flatten() {
                shared[nth as usize] += other.min(*count);
            }
        }
        // F1 is twice the shared words over all words; fractions are compared as products, so exactly.
        let mut best = 0;
        for nth in 1..train.len() {
            if shared[nth] * (length + lengths[best]) > shared[best] * (length + lengths[nth]) {
                best = nth;
            }
        }
        train[best].1.clone()
    };
    sources.iter().map(nearest).collect()
}

fn word_counts(sentence: &str) -> HashMap<String, u32> {
    let mut counts = HashMap::new();
    for word in sentence.split_whitespace() {
        let word = word.trim_matches(|letter: char| !letter.is_alphanumeric()).to_lowercase();
        if !word.is_empty() {
            *counts.entry(word).or_default() += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_with_most_words_in_common_wins() {
        let train = [("The dog sleeps.", "1"), ("A dog sees the cat.", "2"), ("The dog sees the cats.", "3")]
            .map(|(source, target)| (source.to_string(), target.to_string()));
        let found = nearest_translations(&train, &["The dog sees the cat.", "The dog?", "Nothing of this."]);
        assert_eq!(found, ["2", "1", "1"]);
    }
}
