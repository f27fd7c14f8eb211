//! The table, and what the results say in sentences.

use super::measure::{Accuracy, ROWS};
use super::{AtLength, Entry, Results};

/// Distances of a bucket, and how many buckets there are.
pub const FIVE: usize = 5;
pub const BUCKETS: usize = 8;
/// The nearest and the farthest bucket.
pub const NEAR: &str = "1–5";
pub const FAR: &str = "36–40";

/// A whole number with commas.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Milliseconds with two or three digits that count.
fn milliseconds(seconds: f64) -> String {
    let ms = 1e3 * seconds;
    let decimals = if ms < 1.0 { 2 } else { usize::from(ms < 10.0) };
    format!("{ms:.decimals$}")
}

/// Who is how large, what it read, how often it is right, and what a step takes at each length.
pub fn table(r: &Results) -> String {
    let mut lines = vec![format!(
        "{:<20} {:>10} {:>10} {:>11} {:>8}   right at {NEAR:>4} {FAR:>7} {:>7}",
        "model", "width", "parameters", "tokens", "seconds", "all"
    )];
    for e in &r.entries {
        let percent = |buckets| format!("{:.1} %", e.trained.accuracy.percent(buckets));
        lines.push(format!(
            "{:<20} {:>10} {:>10} {:>11} {:>8.1}   {:>13} {:>7} {:>7}",
            e.contestant.name,
            e.contestant.width(),
            grouped(e.contestant.parameters as u64),
            grouped(e.trained.tokens),
            e.trained.seconds,
            percent(0..1),
            percent(BUCKETS - 1..BUCKETS),
            percent(0..BUCKETS)
        ));
    }
    lines.push(format!(
        "{} steps of {} sentences and learning rate {} at most for all, seed {}, on {}",
        grouped(r.steps),
        r.rows,
        r.learning_rate,
        r.seed,
        r.device
    ));
    let row = |name: &str, cells: Vec<String>| {
        format!("{name:<20} {}", cells.iter().map(|cell| format!("{cell:>8}")).collect::<String>())
    };
    let each = |f: &dyn Fn(&AtLength) -> String, e: &Entry| e.at.iter().map(f).collect::<Vec<_>>();
    lines.push(String::new());
    lines.push(row("tokens", r.entries.first().map(|e| each(&|a| a.length.to_string(), e)).unwrap_or_default()));
    lines.push("longest chain of dependent passes, forward and back".into());
    lines.extend(r.entries.iter().map(|e| row(e.contestant.name, each(&|a| grouped(a.chain as u64), e))));
    lines.push(format!("milliseconds a step of {} sentences here", ROWS));
    lines.extend(r.entries.iter().map(|e| row(e.contestant.name, each(&|a| milliseconds(a.seconds), e))));
    lines.join("\n") + "\n"
}

/// What the results say, computed from them.
pub fn sentences(r: &Results) -> Vec<String> {
    let mut all: Vec<String> =
        r.entries.iter().map(|e| format!("The {}", accuracy(e.contestant.name, &e.trained.accuracy))).collect();
    let far = r.last_noun.percent(BUCKETS - 1..BUCKETS);
    all.push(format!("Taking the last noun before the verb for its subject is right in {far:.0} % at {FAR} tokens."));
    all.extend(r.entries.iter().filter_map(|e| chain(e.contestant.name, &e.at)));
    let last = |f: fn(&AtLength) -> f64, e: &Entry| e.at.last().map_or(0.0, f);
    let by = |f: fn(&AtLength) -> f64| {
        let mut sorted: Vec<&Entry> = r.entries.iter().collect();
        sorted.sort_by(|a, b| last(f, a).total_cmp(&last(f, b)));
        Some((*sorted.first()?, *sorted.last()?))
    };
    let length = r.entries.first().and_then(|e| e.at.last()).map_or(0, |a| a.length);
    if let Some((short, long)) = by(|a| a.chain as f64) {
        let ratio = last(|a| a.chain as f64, long) / last(|a| a.chain as f64, short);
        all.push(format!(
            "With lanes to spare the chain is what is left: at {length} tokens that of the {} is {} as long as that of the {}.",
            long.contestant.name,
            times(ratio),
            short.contestant.name
        ));
    }
    if let Some((fast, slow)) = by(|a| a.seconds) {
        let [a, b] = [slow, fast].map(|e| last(|a| a.seconds, e));
        all.push(format!(
            "Here, on {}, a step of {} sentences of {length} tokens takes the {} {} ms, {} as long as the {}.",
            r.device,
            ROWS,
            slow.contestant.name,
            milliseconds(a),
            times(a / b),
            fast.contestant.name
        ));
    }
    all
}

fn times(ratio: f64) -> String {
    if ratio < 10.0 { format!("{ratio:.1} times") } else { format!("{ratio:.0} times") }
}

/// Less than this is what guessing among the nouns of a sentence gives: there are some seventeen.
const UNLEARNED: f64 = 0.1;

/// How accuracy changes with the distance, as far as so many sentences can tell: two standard errors count.
fn accuracy(name: &str, accuracy: &Accuracy) -> String {
    let share = |buckets: std::ops::Range<usize>| {
        let (right, of) = accuracy.counts(buckets);
        let (p, n) = (right as f64 / of.max(1) as f64, of.max(1) as f64);
        (p, (p * (1.0 - p)).max(0.25 / n) / n)
    };
    let ((near, a), (far, b), (all, _)) = (share(0..1), share(BUCKETS - 1..BUCKETS), share(0..BUCKETS));
    let (fall, error) = (near - far, 2.0 * (a + b).sqrt());
    let [near, far, all] = [near, far, all].map(|p| 100.0 * p);
    if all <= 100.0 * UNLEARNED {
        return format!("{name} has not learned to find the subject: {all:.0} % in all.");
    }
    if fall.abs() > error {
        let verb = if fall > 0.0 { "falls" } else { "rises" };
        return format!("{name} {verb} from {near:.0} % at {NEAR} tokens to {far:.0} % at {FAR}.");
    }
    format!("{name} is as good at {FAR} tokens as at {NEAR}: {far:.0} % and {near:.0} %.")
}

fn chain(name: &str, at: &[AtLength]) -> Option<String> {
    let (first, last) = (at.first()?, at.last()?);
    let [a, b] = [first, last].map(|at| grouped(at.chain as u64));
    Some(match first.chain == last.chain {
        true => format!("The chain of the {name} has {a} steps at {} and at {} tokens.", first.length, last.length),
        false => {
            format!("The chain of the {name} has {a} steps at {} tokens and {b} at {}.", first.length, last.length)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many of 100 right answers at each distance.
    fn said(right: [usize; BUCKETS]) -> String {
        let mut all = Accuracy::default();
        for (bucket, right) in right.into_iter().enumerate() {
            (0..100).for_each(|i| all.add(FIVE * bucket + 1, i < right));
        }
        accuracy("model", &all)
    }

    #[test]
    fn a_difference_is_told_where_so_many_sentences_show_one() {
        assert_eq!(said([98, 90, 80, 70, 60, 50, 40, 27]), "model falls from 98 % at 1–5 tokens to 27 % at 36–40.");
        assert_eq!(said([27, 40, 50, 60, 70, 80, 90, 98]), "model rises from 27 % at 1–5 tokens to 98 % at 36–40.");
        // Two standard errors are 14 %.
        assert_eq!(
            said([60, 60, 60, 60, 50, 50, 50, 47]),
            "model is as good at 36–40 tokens as at 1–5: 47 % and 60 %."
        );
        assert_eq!(said([60, 60, 60, 60, 50, 50, 50, 45]), "model falls from 60 % at 1–5 tokens to 45 % at 36–40.");
        assert_eq!(said([100; BUCKETS]), "model is as good at 36–40 tokens as at 1–5: 100 % and 100 %.");
        assert_eq!(said([30, 10, 5, 5, 5, 5, 5, 5]), "model has not learned to find the subject: 9 % in all.");
    }

    #[test]
    fn a_chain_that_does_not_grow_is_told_so() {
        let at = |length, chain| AtLength { length, chain, seconds: 0.0 };
        let grows = chain("RNN", &[at(16, 47), at(64, 143), at(512, 1040)]);
        assert_eq!(grows.as_deref(), Some("The chain of the RNN has 47 steps at 16 tokens and 1,040 at 512."));
        let stays = chain("Transformer", &[at(16, 62), at(512, 62)]);
        assert_eq!(stays.as_deref(), Some("The chain of the Transformer has 62 steps at 16 and at 512 tokens."));
        assert_eq!(chain("nothing", &[]), None);
    }

    #[test]
    fn numbers_have_commas_and_as_many_digits_as_count() {
        assert_eq!([7, 999, 1000, 6_144_000].map(grouped), ["7", "999", "1,000", "6,144,000"]);
        assert_eq!([0.00086, 0.0025, 0.0124, 0.174].map(milliseconds), ["0.86", "2.5", "12", "174"]);
        assert_eq!([2.44, 9.96, 16.8].map(times), ["2.4 times", "10.0 times", "17 times"]);
    }
}
