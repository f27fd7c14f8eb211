//! What `verify` prints: a line per launch, or a table of operations by devices, or one JSON object.

use super::Device;
use seqloom::case::Case;
use seqloom::error::Result;
use seqloom::op::Launch;
use seqloom::tensor::Type;
use seqloom::verify::{GRADIENT_BOUND, Outcome, Slope};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt;

/// How many failures are said again at the end.
const REPEATED: usize = 10;

/// One launch of one case.
pub struct Line {
    room: &'static str,
    op: &'static str,
    shader: &'static str,
    variant: String,
    case: String,
    inputs: Vec<Type>,
    outcome: Outcome,
    gradient: Option<Slope>,
}

impl Line {
    /// How it went.
    pub fn new(room: &'static str, case: &Case, launch: Launch, outcome: Outcome, gradient: Option<Slope>) -> Line {
        let inputs = case.inputs.iter().map(|t| t.ty().clone()).collect();
        let (shader, variant) = (launch.shader.name, launch.variant);
        Line { room, op: case.op.name(), shader, variant, case: case.name.clone(), inputs, outcome, gradient }
    }

    /// Whether the launch and the derivative are right.
    pub fn passed(&self) -> bool {
        self.outcome.passed() && self.wrong_gradient().is_none()
    }

    fn wrong_gradient(&self) -> Option<&Slope> {
        self.gradient.as_ref().filter(|g| g.error > GRADIENT_BOUND || g.error.is_nan())
    }

    /// Element types, "f32" or "u32", of all that is bound.
    fn dtypes(&self) -> String {
        let types = self.inputs.iter().chain([&self.outcome.worst.ty]);
        let distinct: BTreeSet<String> = types.map(|t| format!("{:?}", t.dtype).to_lowercase()).collect();
        distinct.into_iter().collect::<Vec<_>>().join(" ")
    }

    fn json(&self) -> Value {
        let w = &self.outcome.worst;
        let mut object = json!({ "op": self.room, "operation": self.op, "kernel": self.shader,
            "variant": self.variant, "case": self.case,
            "inputs": self.inputs.iter().map(Type::to_string).collect::<Vec<_>>(), "passed": self.passed(),
            "error_over_bound": number(w.ratio), "gradient_error": self.gradient.as_ref().map(|g| number(g.error)),
            "guard_bands_intact": self.outcome.torn.is_empty() });
        if !self.passed() {
            object["worst"] = json!({ "output": w.output, "type": w.ty.to_string(), "index": w.index,
                "have": number(w.have), "want": number(w.want), "bound": number(w.bound), "beyond": w.beyond });
            object["torn_bindings"] = json!(self.outcome.torn);
        }
        object
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let verdict = if self.passed() { "ok" } else { "FAIL" };
        let gradient = self.gradient.as_ref().map_or("-".into(), |g| format!("{:.0e}", g.error));
        let guards = if self.outcome.torn.is_empty() { "intact" } else { "torn" };
        let (ratio, dtypes) = (ratio(self.outcome.worst.ratio), self.dtypes());
        write!(f, "{verdict:4} {ratio:>11} {gradient:>9}  {guards:6}  {dtypes:7}  ")?;
        write!(f, "{:25}  {:22}  {}", self.shader, self.variant, self.case)?;
        if self.outcome.worst.beyond > 0 {
            write!(f, "\n     {}", self.outcome.worst)?;
        }
        for binding in &self.outcome.torn {
            write!(f, "\n     something was written before or behind the elements of binding {binding}")?;
        }
        match self.wrong_gradient() {
            Some(gradient) => write!(f, "\n     {gradient}"),
            None => Ok(()),
        }
    }
}

/// A number as JSON, which has words alone for what is not finite: "inf", "-inf", "NaN".
pub fn number(number: f64) -> Value {
    if number.is_finite() { json!(number) } else { json!(number.to_string()) }
}

fn ratio(ratio: f64) -> String {
    if ratio.abs() < 1000.0 { format!("{ratio:.4}") } else { format!("{ratio:.1e}") }
}

/// The largest error over its bound; NaN is above every number.
fn worst<'a>(lines: impl Iterator<Item = &'a Line>) -> Option<&'a Line> {
    lines.max_by(|a, b| a.outcome.worst.ratio.abs().total_cmp(&b.outcome.worst.ratio.abs()))
}

/// In which form results appear.
pub struct Report {
    /// One JSON object at the end.
    pub json: bool,
    /// Devices side by side.
    pub table: bool,
    /// Devices have WebGPU's default limits.
    pub portable: bool,
    /// The seed of the inputs.
    pub seed: u64,
    /// How many cases there are; each has one launch or more.
    pub cases: usize,
}

impl Report {
    /// What is run where.
    pub fn start(&self, devices: &[Device]) -> Result<()> {
        for (i, device) in devices.iter().enumerate() {
            let number = if self.table { format!(" {i}") } else { String::new() };
            let found = &device.found;
            eprintln!("device{number}: {} ({}, {}), seed {}", found.name(), found.kind(), found.driver(), self.seed);
        }
        if self.json {
            return Ok(());
        }
        if self.table {
            let heads = (0..devices.len()).map(|i| format!("  {:^28}", format!("device {i}"))).collect::<String>();
            let columns = format!("  {:>11} {:>8} {:>7}", "error/bound", "runs", "failed").repeat(devices.len());
            out!("{:14}{heads}\n{:14}{columns}", "", "operation");
        } else {
            out!(
                "     error/bound  gradient  guards  types    shader                     variant                 case"
            );
        }
        Ok(())
    }

    /// Launches that were just run.
    pub fn lines(&self, lines: &[Line]) -> Result<()> {
        if !self.json && !self.table {
            for line in lines {
                out!("{line}");
            }
        }
        Ok(())
    }

    /// A room has been done on every device.
    pub fn room(&self, room: &str, devices: &[Device]) -> Result<()> {
        if self.json || !self.table {
            return Ok(());
        }
        let of = |device: &Device| cells(device.lines.iter().filter(|l| l.room == room));
        out!("{room:14}{}", devices.iter().map(of).collect::<String>());
        Ok(())
    }

    /// The sums, what failed, and what was not run.
    pub fn end(&self, devices: &[Device]) -> Result<()> {
        if self.json {
            let limits = if self.portable { "default" } else { "adapter" };
            let objects = devices.iter().map(json);
            let mut object = json!({ "seed": self.seed, "limits": limits });
            match self.table {
                true => object["devices"] = objects.collect(),
                false => objects.for_each(|o| merge(&mut object, o)),
            }
            out!("{object}");
            return Ok(());
        }
        if self.table {
            out!("{:14}{}", "all", devices.iter().map(|d| cells(d.lines.iter())).collect::<String>());
        }
        for (i, device) in devices.iter().enumerate() {
            let name = if self.table { format!("device {i}, {}: ", device.found.name()) } else { String::new() };
            if !self.table {
                by_operation(&device.lines)?;
            }
            out!("");
            for line in device.lines.iter().filter(|l| !l.passed()).take(REPEATED) {
                out!("{line}");
            }
            if device.failed() > REPEATED {
                out!("and {} more of this kind", device.failed() - REPEATED);
            }
            if let Some(e) = &device.failure {
                out!("{name}could not go on: {e}");
            }
            for absent in &device.absent {
                let of = if absent.variant.is_empty() { String::new() } else { format!(" [{}]", absent.variant) };
                out!("{name}not run: {}{of}: {}", absent.shader, absent.why);
            }
            let shaders: BTreeSet<&str> = device.lines.iter().map(|l| l.shader).collect();
            let (runs, failed) = (device.lines.len(), device.failed());
            let limits = if self.portable { ", WebGPU's default limits" } else { "" };
            let of = format!("{} cases, {runs} launches of {} shaders", self.cases, shaders.len());
            out!("{name}{of}: {} passed, {failed} failed (seed {}{limits})", runs - failed, self.seed);
        }
        Ok(())
    }
}

fn cells<'a>(lines: impl Iterator<Item = &'a Line> + Clone) -> String {
    let failed = lines.clone().filter(|l| !l.passed()).count();
    let worst = worst(lines.clone()).map_or("-".into(), |l| ratio(l.outcome.worst.ratio));
    format!("  {worst:>11} {:>8} {failed:>7}", lines.count())
}

fn json(device: &Device) -> Value {
    let found = &device.found;
    let absent = |a: &seqloom::verify::Absent| json!({ "kernel": a.shader, "variant": a.variant, "why": a.why });
    json!({ "device": found.name(), "kind": found.kind(), "driver": found.driver(), "backend": found.backend(),
        "failed": device.failed(), "error": device.failure.as_ref().map(|e| e.to_string()),
        "not_run": device.absent.iter().map(absent).collect::<Vec<_>>(),
        "cases": device.lines.iter().map(Line::json).collect::<Vec<_>>() })
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

/// The worst case of each operation.
fn by_operation(lines: &[Line]) -> Result<()> {
    out!("\nlargest error over its bound, by operation:");
    for of_room in lines.chunk_by(|a, b| a.room == b.room) {
        if let Some(worst) = worst(of_room.iter()) {
            let (room, ratio) = (worst.room, ratio(worst.outcome.worst.ratio));
            out!("  {room:14} {ratio:>8}  {:4} runs, worst: {} {}", of_room.len(), worst.shader, worst.case);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn what_is_not_finite_is_a_word() {
        let numbers = [1.5, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, -f64::NAN].map(number);
        assert_eq!(serde_json::json!(numbers).to_string(), r#"[1.5,-0.0,"inf","-inf","NaN","NaN"]"#);
    }
}
