//! What a training run says: a bar and lines on a terminal, plain lines elsewhere, and the metrics files.

use super::files;
use super::plot::{Curve, curves};
use super::run_dir::RunDir;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use seqloom::error::Result;
use seqloom::train::{Evaluation, Metrics};
use serde_json::{Value, json};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

const COLUMNS: [&str; 13] = [
    "step",
    "epoch",
    "loss",
    "kl",
    "lr",
    "grad_norm",
    "tokens_per_second",
    "seconds",
    "valid_loss",
    "valid_perplexity",
    "bleu",
    "chrf",
    "exact",
];

/// How good translations are.
#[derive(Clone, Copy, Debug)]
pub struct Scores {
    /// BLEU, 0 to 100.
    pub bleu: f64,
    /// chrF, 0 to 100.
    pub chrf: f64,
    /// The share of lines that are what they should be, 0 to 1.
    pub exact: f64,
}

/// The metrics of a run, in memory and in its directory.
pub struct Report {
    run: RunDir,
    rows: Vec<Value>,
    bar: Option<ProgressBar>,
    since: Instant,
    before: f64,
    steps: u64,
    written: usize,
}

impl Report {
    /// Goes on after `step` steps and `seconds` seconds; rows of later steps, which a killed run may have left, go.
    pub fn new(run: &RunDir, step: u64, steps: u64, seconds: f64) -> Result<Report> {
        let path = run.path("metrics.jsonl");
        let text = if path.exists() { files::read_text(&path, u64::MAX)? } else { String::new() };
        // A row has a few hundred bytes; what is longer is none.
        let rows = text.lines().filter(|l| l.len() < 1 << 16).filter_map(|l| serde_json::from_str::<Value>(l).ok());
        let rows: Vec<Value> = rows.filter(|r| r["step"].as_u64().is_some_and(|s| s <= step)).collect();
        let bar = std::io::stderr().is_terminal().then(|| {
            let style =
                ProgressStyle::with_template("{bar:28} {pos}/{len} {msg} {eta} left").expect("a fixed template");
            let target = ProgressDrawTarget::stderr_with_hz(5);
            let bar = ProgressBar::with_draw_target(Some(steps), target).with_style(style);
            bar.set_position(step);
            bar.reset_eta();
            bar
        });
        let since = Instant::now();
        let report = Report { run: run.clone(), rows, bar, since, before: seconds, steps, written: 0 };
        files::write(&path, report.lines(0).as_bytes())?;
        files::write(&run.path("metrics.tsv"), (COLUMNS.join("\t") + "\n" + &report.table(0)).as_bytes())?;
        Ok(Report { written: report.rows.len(), ..report })
    }

    /// Seconds of training so far, over all sittings.
    pub fn seconds(&self) -> f64 {
        self.before + self.since.elapsed().as_secs_f64()
    }

    /// A line for people, above the bar where there is one.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    /// The numbers of some steps that took `elapsed`.
    pub fn steps(&mut self, metrics: &[Metrics], elapsed: Duration) {
        let tokens: u64 = metrics.iter().map(|m| m.tokens as u64).sum();
        let speed = tokens as f64 / elapsed.as_secs_f64().max(1e-9);
        let seconds = self.seconds();
        for m in metrics {
            self.rows.push(json!({ "step": m.step, "epoch": m.epoch, "loss": m.loss, "kl": m.kl, "lr": m.lr,
                "grad_norm": m.grad_norm, "tokens_per_second": speed, "seconds": seconds }));
        }
        let Some(last) = metrics.last() else { return };
        let line = format!("loss {:.4} lr {:.2e} {speed:.0} tokens/s", last.loss, last.lr);
        match &self.bar {
            Some(bar) => {
                bar.set_position(last.step);
                bar.set_message(line);
            }
            None => {
                let left = elapsed.as_secs_f64() / metrics.len() as f64 * (self.steps.saturating_sub(last.step)) as f64;
                eprintln!("step {}/{} {line} {} left", last.step, self.steps, clock(left));
            }
        }
    }

    /// The numbers of an evaluation after the last step.
    pub fn evaluation(&mut self, e: &Evaluation, scores: Option<Scores>) {
        if let Some(Value::Object(row)) = self.rows.last_mut() {
            row.insert("valid_loss".into(), json!(e.loss));
            row.insert("valid_perplexity".into(), json!(e.nll.exp()));
            if let Some(scores) = scores {
                row.insert("bleu".into(), json!(scores.bleu));
                row.insert("chrf".into(), json!(scores.chrf));
                row.insert("exact".into(), json!(scores.exact));
            }
        }
        let step = self.rows.last().and_then(|r| r["step"].as_u64()).unwrap_or(0);
        let scores = scores.map_or(String::new(), |s| {
            format!("BLEU {:.2}, chrF {:.2}, {:.1} % exact, ", s.bleu, s.chrf, 100.0 * s.exact)
        });
        self.say(&format!(
            "step {step}: validation loss {:.4}, perplexity {:.3}, {scores}{} so far",
            e.loss,
            e.nll.exp(),
            clock(self.seconds())
        ));
    }

    /// Appends the new rows to the metrics files and redraws the curve.
    pub fn flush(&mut self) -> Result<()> {
        files::append(&self.run.path("metrics.jsonl"), &self.lines(self.written))?;
        files::append(&self.run.path("metrics.tsv"), &self.table(self.written))?;
        self.written = self.rows.len();
        let points = |key: &str| -> Vec<(f64, f64)> {
            self.rows.iter().filter_map(|r| Some((r["step"].as_f64()?, r[key].as_f64()?))).collect()
        };
        let (loss, valid) = (points("loss"), points("valid_loss"));
        let both = [Curve { name: "training", points: &loss }, Curve { name: "validation", points: &valid }];
        match curves("Cross-entropy with label smoothing", &both) {
            Some(svg) => files::write(&self.run.path("loss.svg"), svg.as_bytes()),
            None => Ok(()),
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn lines(&self, first: usize) -> String {
        self.rows[first..].iter().map(|r| format!("{r}\n")).collect()
    }

    fn table(&self, first: usize) -> String {
        let cell = |r: &Value, c: &str| r.get(c).map_or(String::new(), Value::to_string);
        let line = |r: &Value| COLUMNS.map(|c| cell(r, c)).join("\t") + "\n";
        self.rows[first..].iter().map(line).collect()
    }
}

/// 3725.0 as "1:02:05".
pub fn clock(seconds: f64) -> String {
    let s = seconds.round() as u64;
    match s / 3600 {
        0 => format!("{}:{:02}", s / 60, s % 60),
        h => format!("{h}:{:02}:{:02}", s / 60 % 60, s % 60),
    }
}
