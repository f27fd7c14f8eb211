//! One line of the table: a kernel on a large case, its time, and how far that is from the adapter's limits.

use super::limits::{Limit, Roofline};
use super::measure::Times;
use seqloom::large::{Large, UNCACHED};
use seqloom::op::{Cost, Launch};
use serde_json::{Value, json};

/// A kernel that is to be timed.
pub struct Candidate {
    /// The room.
    pub room: &'static str,
    /// The case.
    pub large: std::rc::Rc<Large>,
    /// How it is launched.
    pub launch: Launch,
    /// Whether plans launch it so.
    pub default: bool,
}

/// A kernel that was timed, or why its time means nothing.
pub struct Row {
    /// Which.
    pub candidate: Candidate,
    /// Arithmetic and traffic of a run.
    pub cost: Cost,
    /// Seconds, or what is wrong with the outputs.
    pub times: Result<Times, String>,
}

/// The numbers of a row.
#[derive(Clone, Copy)]
pub struct Figures {
    /// Median.
    pub seconds: f64,
    /// Half the distance between the quartiles, over the median.
    pub spread: f64,
    /// FLOP/s.
    pub flops: f64,
    /// Bytes/s.
    pub bytes: f64,
    /// The limit that binds.
    pub limit: Limit,
    /// The time that the limit leaves over the time taken.
    pub share: f64,
    /// Whether the data may stay in a cache, where bandwidth is judged.
    pub cached: bool,
}

impl Candidate {
    /// What tells it from the others: kernel, case, variant.
    pub fn key(&self) -> [&str; 3] {
        [self.launch.shader.name, &self.large.name, &self.launch.variant]
    }

    /// What people call it: operation, case, variant.
    pub fn words(&self) -> [&str; 3] {
        [self.large.op.name(), &self.large.name, &self.launch.variant]
    }
}

impl Row {
    /// The numbers; none when the outputs were wrong.
    pub fn figures(&self, roofline: &Roofline) -> Option<Figures> {
        let times = self.times.as_ref().ok()?;
        let (seconds, quartiles) = (times.median(), times.quartiles());
        let (limit, floor) = roofline.floor(&self.cost);
        Some(Figures {
            seconds,
            spread: (quartiles[1] - quartiles[0]) / 2.0 / seconds,
            flops: self.cost.flops as f64 / seconds,
            bytes: self.cost.bytes as f64 / seconds,
            limit,
            share: floor / seconds,
            cached: limit == Limit::Copy && self.cost.bytes < UNCACHED,
        })
    }

    /// Everything that is known.
    pub fn json(&self, roofline: &Roofline) -> Value {
        let Candidate { room, large, launch, default } = &self.candidate;
        let mut row = json!({ "op": room, "operation": large.op.name(), "kernel": launch.shader.name,
            "case": large.name, "variant": launch.variant, "default": default, "flops": self.cost.flops, "bytes": self.cost.bytes });
        let more = match (&self.times, self.figures(roofline)) {
            (Ok(times), Some(f)) => json!({ "seconds": f.seconds, "quartiles": times.quartiles(),
                "range": times.range(), "runs": times.runs(), "timestamps": times.stamped,
                "flops_per_second": f.flops, "bytes_per_second": f.bytes, "limit": f.limit.name(), "share": f.share,
                "may_be_cached": f.cached, "wrong": null }),
            (wrong, _) => json!({ "seconds": null, "wrong": wrong.as_ref().err() }),
        };
        let more = more.as_object().expect("made above").clone();
        row.as_object_mut().expect("made above").extend(more);
        row
    }
}

/// How wide the first three columns are.
pub struct Widths([usize; 3]);

impl Widths {
    /// Wide enough for these.
    pub fn of(candidates: &[Candidate]) -> Widths {
        let widest = |column: usize| candidates.iter().map(|c| c.words()[column].chars().count()).max().unwrap_or(0);
        let titles = ["op", "case", "variant"];
        Widths([0, 1, 2].map(|column| widest(column).max(titles[column].len())))
    }

    fn names(&self, words: [&str; 3]) -> String {
        let Widths([a, b, c]) = self;
        format!("{:a$} {:b$} {:c$}", words[0], words[1], words[2])
    }

    /// The titles of the columns.
    pub fn head(&self) -> String {
        let names = self.names(["op", "case", "variant"]);
        format!("{names} {:>9} {:>6} {:>8} {:>6}  share of", "ms", "spread", "GFLOP/s", "GB/s")
    }

    /// A line of the table.
    pub fn line(&self, row: &Row, roofline: &Roofline) -> String {
        let names = self.names(row.candidate.words());
        let f = match (&row.times, row.figures(roofline)) {
            (_, Some(f)) => f,
            (wrong, None) => return format!("{names}     WRONG {}", wrong.as_ref().err().map_or("", String::as_str)),
        };
        let cached = if f.cached { "*" } else { "" };
        format!(
            "{names} {:9.3} {:4.0} % {:8.1} {:6.2} {:4.0} % {}{cached}",
            f.seconds * 1e3,
            f.spread * 100.0,
            f.flops / 1e9,
            f.bytes / 1e9,
            f.share * 100.0,
            f.limit.name()
        )
    }

    /// A line of the comparison with a baseline: milliseconds then and now, and their ratio.
    pub fn ratio(&self, words: [&str; 3], [then, now]: [f64; 2], verdict: &str) -> String {
        let names = self.names(words);
        format!("{names} {:9.3} {:9.3} {:6.2} {verdict}", then * 1e3, now * 1e3, now / then).trim_end().into()
    }
}
