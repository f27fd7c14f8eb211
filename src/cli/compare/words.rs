//! The table, and what the results say in sentences.

use super::{Entry, Results};

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
    let each = |f: &dyn Fn(&super::AtLength) -> String, e: &Entry| e.at.iter().map(f).collect::<Vec<_>>();
    lines.push(String::new());
    lines.push(row("tokens", r.entries.first().map(|e| each(&|a| a.length.to_string(), e)).unwrap_or_default()));
    lines.push("longest chain of dependent passes, forward and back".into());
    lines.extend(r.entries.iter().map(|e| row(e.contestant.name, each(&|a| grouped(a.chain as u64), e))));
    lines.push("milliseconds a step here".into());
    lines.extend(r.entries.iter().map(|e| row(e.contestant.name, each(&|a| milliseconds(a.seconds), e))));
    lines.join("\n") + "\n"
}

/// What the results say, computed from them.
pub fn sentences(r: &Results) -> Vec<String> {
    let mut all: Vec<String> = r.entries.iter().map(|e| format!("The {}", accuracy(e))).collect();
    let far = r.last_noun.percent(BUCKETS - 1..BUCKETS);
    all.push(format!("Taking the last noun before the verb for its subject is right in {far:.0} % at {FAR} tokens."));
    all.extend(r.entries.iter().filter_map(chain));
    let last = |f: fn(&super::AtLength) -> f64, e: &Entry| e.at.last().map_or(0.0, f);
    let by = |f: fn(&super::AtLength) -> f64| {
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
            "Here, on {}, a step at {length} tokens takes the {} {} ms, {} as long as the {}.",
            r.device,
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
fn accuracy(e: &Entry) -> String {
    let accuracy = &e.trained.accuracy;
    let share = |buckets: std::ops::Range<usize>| {
        let (right, of) = accuracy.counts(buckets);
        let (p, n) = (right as f64 / of.max(1) as f64, of.max(1) as f64);
        (p, (p * (1.0 - p)).max(0.25 / n) / n)
    };
    let ((near, a), (far, b), (all, _)) = (share(0..1), share(BUCKETS - 1..BUCKETS), share(0..BUCKETS));
    let (fall, error) = (near - far, 2.0 * (a + b).sqrt());
    let name = e.contestant.name;
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

fn chain(e: &Entry) -> Option<String> {
    let (first, last) = (e.at.first()?, e.at.last()?);
    let [a, b] = [first, last].map(|at| grouped(at.chain as u64));
    let name = e.contestant.name;
    Some(match first.chain == last.chain {
        true => format!("The chain of the {name} has {a} steps at {} and at {} tokens.", first.length, last.length),
        false => {
            format!("The chain of the {name} has {a} steps at {} tokens and {b} at {}.", first.length, last.length)
        }
    })
}
