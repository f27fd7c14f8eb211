use super::*;
use crate::text::tokenizer::{Kind, Rules, Tokenizer};
use std::collections::BTreeMap;

/// Pairs whose sides are about as long as each other, with no token twice, so that each can be found again.
fn random_examples(seed: u64, count: usize, longest: u64) -> Vec<Example> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut ids = 4..;
    let examples = (0..count).map(|_| {
        let length = 1 + below(longest, &mut rng);
        let other = (length + below(length / 3 + 2, &mut rng)).min(longest);
        let mut take = |n: u64| ids.by_ref().take(n as usize).collect();
        Example::marked(take(length), take(other))
    });
    examples.collect()
}

fn example(source: usize, target: usize) -> Example {
    Example::marked(vec![7; source], vec![9; target])
}

fn bucket(rows: usize, source_length: usize, target_length: usize) -> Bucket {
    Bucket { rows, source_length, target_length }
}

#[test]
fn a_batch_by_hand() {
    let examples = vec![Example::marked(vec![5, 6], vec![7]), Example::marked(vec![8], vec![])];
    let batches = Batches::new(Buckets(vec![bucket(3, 4, 2)]), examples).unwrap();
    let plans = batches.in_order();
    assert_eq!(plans, [BatchPlan { bucket: 0, examples: vec![0, 1] }]);
    let expected = Batch {
        source: vec![5, 6, EOS, PAD, 8, EOS, PAD, PAD, PAD, PAD, PAD, PAD],
        source_lengths: vec![3, 2, 0],
        target_in: vec![BOS, 7, BOS, PAD, PAD, PAD],
        target_out: vec![7, EOS, EOS, IGNORE, IGNORE, IGNORE],
        target_lengths: vec![2, 1, 0],
        tokens: 3,
        pairs: 2,
    };
    assert_eq!(batches.build(&plans[0]), expected);
    assert_eq!(batches.padded_share(), 1.0 - 8.0 / 18.0);
}

/// The first token is given, and nothing is added: as many predictions as the target has tokens, less one.
#[test]
fn a_batch_without_marks_by_hand() {
    let examples = vec![Example::unmarked(vec![5, 6], vec![7, 8, 9]), Example::unmarked(vec![8], vec![4, 5])];
    assert_eq!(examples[0].lengths(), (2, 2));
    let batches = Batches::new(Buckets(vec![bucket(2, 4, 4)]), examples).unwrap();
    let expected = Batch {
        source: vec![5, 6, PAD, PAD, 8, PAD, PAD, PAD],
        source_lengths: vec![2, 1],
        target_in: vec![7, 8, PAD, PAD, 4, PAD, PAD, PAD],
        target_out: vec![8, 9, IGNORE, IGNORE, 5, IGNORE, IGNORE, IGNORE],
        target_lengths: vec![2, 1],
        tokens: 3,
        pairs: 2,
    };
    assert_eq!(batches.build(&batches.in_order()[0]), expected);
}

#[test]
fn pairs_without_a_prediction_are_dropped() {
    let tokenizers = Tokenizers::Shared(Tokenizer::learn(&Rules::new(Kind::Char, 100), ["abc"].into_iter()).unwrap());
    let pairs = [("a", "b"), ("a", "ab"), ("", "ab"), ("a", ""), ("abc", "abca"), ("a", "abcab")];
    let pairs = pairs.map(|(s, t)| (s.to_owned(), t.to_owned()));
    let (examples, dropped) = encode_pairs(&tokenizers, &pairs, false, 3);
    let wanted = [Example::unmarked(vec![4], vec![4, 5]), Example::unmarked(vec![4, 5, 6], vec![4, 5, 6, 4])];
    assert_eq!((&examples[..], dropped), (&wanted[..], 4));
}

#[test]
fn long_pairs_are_dropped_and_counted() {
    let tokenizers = Tokenizers::Shared(Tokenizer::learn(&Rules::new(Kind::Char, 100), ["abc"].into_iter()).unwrap());
    let pairs = [("ab", "c"), ("abc", "c"), ("a", "abcc"), ("", "a")].map(|(s, t)| (s.to_owned(), t.to_owned()));
    let (examples, dropped) = encode_pairs(&tokenizers, &pairs, true, 3);
    assert_eq!(dropped, 2);
    assert_eq!(examples[0], Example::marked(vec![4, 5], vec![6]));
    assert_eq!(examples[1].lengths(), (1, 2));
}

#[test]
fn shapes_by_hand() {
    let mut examples = vec![example(3, 7); 100];
    examples.extend(vec![example(60, 39); 10]);
    let choose = |tokens, size, most| Buckets::choose(&examples, tokens, size, most).unwrap().0;
    assert_eq!(choose(1000, 0, 4), [bucket(83, 4, 8), bucket(9, 64, 40)]);
    assert_eq!(choose(1000, 0, 1), [bucket(9, 64, 40)]);
    assert_eq!(choose(0, 64, 4), [bucket(64, 4, 8), bucket(10, 64, 40)]);
    assert_eq!(Buckets::choose(&[example(3, 8)], 100, 0, 4).unwrap().0, [bucket(1, 4, 12)]);
}

#[test]
fn a_pair_larger_than_a_batch_is_refused() {
    let error = |tokens| Buckets::choose(&[example(9, 19)], tokens, 0, 4).unwrap_err().to_string();
    assert!(error(29).contains("set train.batch_tokens to at least 30"), "{}", error(29));
    assert_eq!(Buckets::choose(&[example(9, 19)], 30, 0, 4).unwrap().0, [bucket(1, 12, 20)]);
    assert!(Buckets::choose(&[], 100, 0, 4).unwrap_err().to_string().contains("raise data.max_length"));
    assert!(Batches::new(Buckets(vec![bucket(1, 4, 4)]), vec![example(4, 1)]).is_err());
}

#[test]
fn every_token_is_in_an_epoch_once() {
    for seed in 0..60 {
        let longest = 1 + seed * 2;
        let examples = random_examples(seed, 1 + 5 * seed as usize, longest);
        let buckets = Buckets::choose(&examples, 1000, if seed % 3 == 0 { 16 } else { 0 }, 4).unwrap();
        assert!((1..=4).contains(&buckets.shapes().len()));
        for shape in buckets.shapes() {
            assert_eq!((shape.source_length % 4, shape.target_length % 4), (0, 0));
        }
        let batches = Batches::new(buckets, examples.clone()).unwrap();
        for plans in [batches.in_order(), batches.epoch(seed, 0), batches.epoch(seed, 1)] {
            let (mut sources, mut targets) = (Vec::<u32>::new(), Vec::<u32>::new());
            let (mut pairs, mut tokens, mut positions) = (0, 0, 0);
            for plan in &plans {
                let batch = batches.build(plan);
                positions += batch.source.len() + batch.target_in.len();
                sources.extend(batch.source.iter().filter(|&&id| id > EOS));
                targets.extend(batch.target_out.iter().filter(|&&id| id > EOS && id != IGNORE));
                pairs += batch.pairs;
                tokens += batch.tokens as usize;
                assert_eq!(batch.target_out.iter().filter(|&&id| id != IGNORE).count(), batch.tokens as usize);
                assert_eq!(batch.target_lengths.iter().sum::<u32>(), batch.tokens);
                assert_eq!(batch.source.iter().filter(|&&id| id == EOS).count(), batch.pairs);
                assert_eq!(batch.target_in.iter().filter(|&&id| id == BOS).count(), batch.pairs);
            }
            sources.sort_unstable();
            targets.sort_unstable();
            let words = |side: fn(&Example) -> &[u32]| -> Vec<u32> {
                examples.iter().flat_map(side).copied().filter(|&id| id > EOS).collect()
            };
            assert_eq!(sources, words(Example::source), "seed {seed}");
            assert_eq!(targets, words(Example::target), "seed {seed}");
            assert_eq!((pairs, tokens), (examples.len(), targets.len() + examples.len()));
            let used = sources.len() + targets.len() + 2 * pairs;
            assert_eq!(batches.padded_share(), 1.0 - used as f64 / positions as f64);
        }
    }
}

#[test]
fn the_order_depends_on_seed_and_epoch_alone() {
    let batches = |examples| Batches::new(Buckets::choose(&examples, 200, 0, 4).unwrap(), examples).unwrap();
    let (one, two) = (batches(random_examples(1, 300, 40)), batches(random_examples(1, 300, 40)));
    assert_eq!(one.epoch(5, 3), two.epoch(5, 3));
    assert_ne!(one.epoch(5, 3), one.epoch(5, 4));
    assert_ne!(one.epoch(5, 3), one.epoch(6, 3));
    assert_ne!(one.epoch(5, 4), one.epoch(6, 3));
}

#[test]
fn a_narrowed_batch_is_the_first_rows_of_it() {
    let examples = random_examples(1, 300, 40);
    let pairs = Batches::new(Buckets::choose(&examples, 200, 0, 4).unwrap(), examples).unwrap();
    let text = Batches::text((0..500).collect(), 8, 6).unwrap();
    for batches in [pairs, text] {
        for plan in batches.epoch(5, 1) {
            let (whole, shape) = (batches.build(&plan), batches.buckets().shapes()[plan.bucket]);
            let [s, t] = [shape.source_length, shape.target_length];
            for rows in [1, 2, shape.rows, 1000] {
                let (narrow, first) = batches.narrowed(&plan, rows);
                let rows = rows.min(shape.rows);
                assert_eq!(narrow.buckets().shapes(), [Bucket { rows, ..shape }]);
                let part = narrow.build(&first);
                assert_eq!(part.source, whole.source[..rows * s]);
                assert_eq!(part.target_in, whole.target_in[..rows * t]);
                assert_eq!(part.target_lengths, whole.target_lengths[..rows]);
                assert_eq!(part.tokens, part.target_lengths.iter().sum::<u32>());
            }
        }
    }
}

#[test]
fn shuffles_are_uniform() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut counts = BTreeMap::<[u8; 4], f64>::new();
    for _ in 0..24_000 {
        let mut items = [0, 1, 2, 3];
        shuffle(&mut items, &mut rng);
        *counts.entry(items).or_default() += 1.0;
    }
    assert_eq!(counts.len(), 24);
    let chi_squared: f64 = counts.values().map(|count| (count - 1000.0).powi(2) / 1000.0).sum();
    assert!(chi_squared < 49.7, "{chi_squared} with 23 degrees of freedom: less than one chance in a thousand");
}

#[test]
fn positions_are_sorted_by_token() {
    assert_eq!(by_token(&[2, 0, 2, 1, 0, 0], 4), [0, 3, 4, 6, 6, 1, 4, 5, 3, 0, 2]);
    assert_eq!(by_token(&[], 2), [0, 0, 0]);
    for seed in 0..50 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let ids: Vec<u32> = (0..seed * 7).map(|_| below(20, &mut rng) as u32).collect();
        let mut expected: Vec<u32> = (0..ids.len() as u32).collect();
        expected.sort_by_key(|&position| ids[position as usize]);
        assert_eq!(by_token(&ids, 20)[21..], expected, "seed {seed}");
    }
}
