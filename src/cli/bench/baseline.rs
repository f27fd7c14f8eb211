//! `--baseline`: earlier times, and what became slower.

use crate::cli::files;
use seqloom::error::{Error, Result};
use serde_json::{Value, json};
use std::path::Path;

/// Operation, case and variant.
pub type Key = [String; 3];

/// What an earlier `bench --json` wrote.
#[derive(Debug)]
pub struct Baseline {
    /// The adapter that it ran on.
    pub device: String,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    key: Key,
    default: bool,
    /// Median; none where the kernel was wrong.
    seconds: Option<f64>,
}

/// A kernel that was timed both times.
#[derive(Clone, Debug, PartialEq)]
pub struct Ratio {
    /// Which.
    pub key: Key,
    /// Seconds then.
    pub then: f64,
    /// Seconds now.
    pub now: f64,
    /// Whether it is slower than the threshold allows.
    pub slower: bool,
}

/// Now against then.
#[derive(Debug, Default)]
pub struct Comparison {
    /// Kernels that were timed both times.
    pub ratios: Vec<Ratio>,
    /// What the baseline has no time of.
    pub new: Vec<Key>,
    /// What the baseline has and was not timed now.
    pub gone: Vec<Key>,
}

impl Baseline {
    /// Reads a file. Errors: it cannot be read, or is something else.
    pub fn read(path: &Path) -> Result<Baseline> {
        let text = files::read_text(path, files::LIST)?;
        Baseline::parse(&text)
            .ok_or_else(|| Error::Input(format!("--baseline {}: this is not what bench --json prints", path.display())))
    }

    fn parse(text: &str) -> Option<Baseline> {
        let value: Value = serde_json::from_str(text).ok()?;
        let entry = |v: &Value| {
            let word = |name: &str| v[name].as_str().map(String::from);
            Some(Entry {
                key: [word("kernel")?, word("case")?, word("variant")?],
                default: v["default"].as_bool()?,
                seconds: match &v["seconds"] {
                    Value::Null => None,
                    // What took no time was not measured.
                    seconds => Some(seconds.as_f64().filter(|s| s.is_finite() && *s > 0.0)?),
                },
            })
        };
        let entries = value["cases"].as_array()?.iter().map(entry).collect::<Option<Vec<_>>>()?;
        Some(Baseline { device: value["device"].as_str()?.into(), entries })
    }

    /// Compares times with those of the baseline. `wanted` says which of its entries were meant to be timed, from key and
    /// whether it is the default launch.
    pub fn compare(
        &self,
        now: &[(Key, Option<f64>)],
        threshold: f64,
        wanted: impl Fn(&Key, bool) -> bool,
    ) -> Comparison {
        let mut comparison = Comparison::default();
        for (key, now) in now {
            let then = self.entries.iter().find(|e| e.key == *key).and_then(|e| e.seconds);
            match (then, now) {
                (Some(then), &Some(now)) => {
                    // A time that is not a number is not fast enough either.
                    let fast = now / then <= threshold;
                    comparison.ratios.push(Ratio { key: key.clone(), then, now, slower: !fast });
                }
                (None, _) => comparison.new.push(key.clone()),
                // What computes something wrong is reported where it runs.
                (Some(_), None) => {}
            }
        }
        let timed = |e: &&Entry| now.iter().any(|(key, _)| *key == e.key);
        let gone = self.entries.iter().filter(|e| !timed(e) && wanted(&e.key, e.default));
        comparison.gone = gone.map(|e| e.key.clone()).collect();
        comparison
    }
}

impl Comparison {
    /// Whether anything became slower than allowed, or nothing could be compared.
    pub fn failed(&self) -> bool {
        self.ratios.is_empty() || self.ratios.iter().any(|r| r.slower)
    }

    /// Everything that is known.
    pub fn json(&self, threshold: f64) -> Value {
        let key = |[op, case, variant]: &Key| json!({ "kernel": op, "case": case, "variant": variant });
        let ratio = |r: &Ratio| {
            let mut object = key(&r.key);
            object["ratio"] = json!(r.now / r.then);
            object["slower"] = json!(r.slower);
            object
        };
        json!({ "threshold": threshold, "ratios": self.ratios.iter().map(ratio).collect::<Vec<_>>(),
            "new": self.new.iter().map(key).collect::<Vec<_>>(),
            "gone": self.gone.iter().map(key).collect::<Vec<_>>() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORED: &str = r#"{ "device": "a GPU", "cases": [
        { "kernel": "scale", "case": "4096x2048", "variant": "", "default": true, "seconds": 0.010 },
        { "kernel": "matmul", "case": "NN 8x8x8", "variant": "direct 8x8", "default": false, "seconds": 0.002 },
        { "kernel": "sum", "case": "4096", "variant": "64 lanes", "default": true, "seconds": null },
        { "kernel": "gone", "case": "1", "variant": "", "default": true, "seconds": 1.0 } ] }"#;

    fn key(words: [&str; 3]) -> Key {
        words.map(String::from)
    }

    fn compare(now: &[([&str; 3], Option<f64>)]) -> Comparison {
        let now: Vec<(Key, Option<f64>)> = now.iter().map(|(k, s)| (key(*k), *s)).collect();
        Baseline::parse(STORED).expect("a baseline").compare(&now, 1.25, |_, default| default)
    }

    #[test]
    fn slower_than_the_threshold_fails() {
        let scale = ["scale", "4096x2048", ""];
        let fine = compare(&[(scale, Some(0.0124)), (["matmul", "NN 8x8x8", "direct 8x8"], Some(0.001))]);
        assert!(!fine.failed() && fine.ratios.len() == 2, "{fine:?}");
        let slow = compare(&[(scale, Some(0.0126)), (["matmul", "NN 8x8x8", "direct 8x8"], Some(0.001))]);
        assert!(slow.failed() && slow.ratios[0].slower && !slow.ratios[1].slower, "{slow:?}");
        assert!(compare(&[(scale, Some(f64::NAN))]).failed());
        assert!(compare(&[(scale, Some(f64::INFINITY))]).failed());
    }

    #[test]
    fn what_is_missing_on_either_side_is_named() {
        let now = [
            (["scale", "4096x2048", ""], Some(0.01)),
            (["sum", "4096", "64 lanes"], Some(1.0)),
            (["add", "1", ""], None),
        ];
        let c = compare(&now);
        // The sum has no time in the baseline, the addition is not in it.
        assert_eq!(c.new, [key(["sum", "4096", "64 lanes"]), key(["add", "1", ""])]);
        // The matmul was not asked for: it is no default.
        assert_eq!(c.gone, [key(["gone", "1", ""])]);
        assert_eq!((c.ratios.len(), c.failed()), (1, false));
        let json = c.json(1.25);
        assert_eq!(
            (json["ratios"][0]["ratio"].as_f64(), json["gone"][0]["kernel"].as_str()),
            (Some(1.0), Some("gone"))
        );
    }

    #[test]
    fn other_files_are_refused() {
        let with = |seconds: &str| STORED.replace("0.010", seconds);
        assert!(Baseline::parse(&with("0.5")).is_some());
        for bad in ["", "{}", "[1]", r#"{ "device": "x", "cases": [{}] }"#, &with("0"), &with("-1"), &with("\"fast\"")]
        {
            assert!(Baseline::parse(bad).is_none(), "{bad}");
        }
    }
}
