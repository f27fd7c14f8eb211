//! What timed steps come to, for people and as JSON.

use super::limits::Roofline;
use super::measure::Times;
use crate::cli::files;
use seqloom::error::Result;
use seqloom::plan::Plan;
use seqloom::train::{Footprint, Phase, Timed};
use serde_json::{Value, json};
use std::path::Path;

/// Seconds up to the end of the first step.
pub struct Start {
    /// Plans.
    pub plan: f64,
    /// Buffers and pipelines.
    pub load: f64,
    /// The step itself.
    pub first: f64,
}

/// One step.
pub struct Step {
    /// From its beginning to its numbers.
    pub seconds: f64,
    /// Target tokens, without padding.
    pub tokens: u64,
    /// Source and target positions, padding included.
    pub positions: usize,
    /// What the device had to do; zeros on the CPU, which keeps no plans.
    pub work: Work,
}

/// What plans ask of a device.
#[derive(Clone, Copy, Default)]
pub struct Work {
    flops: u64,
    /// Those of them that are of a forward pass.
    forward: u64,
    dispatches: usize,
    submissions: usize,
}

impl Work {
    /// Adds what the plan of a program asks that begins with a phase.
    pub fn add(&mut self, phase: Phase, plan: &Plan) {
        let forward = (0..plan.passes.len()).filter(|&pass| phase == Phase::Forward && !plan.is_backward(pass));
        self.forward += forward.map(|pass| plan.passes[pass].cost.flops).sum::<u64>();
        self.flops += plan.cost().flops;
        self.dispatches += plan.passes.iter().map(|pass| pass.launch.steps as usize).sum::<usize>();
        self.submissions += plan.submissions.len();
    }
}

/// All that was measured.
pub struct Report {
    /// Its name or file.
    pub recipe: String,
    /// What the batches hold.
    pub about: String,
    /// Where it ran.
    pub device: String,
    /// Numbers that are trained.
    pub parameters: usize,
    /// Up to the first step.
    pub start: Start,
    /// The steps after it.
    pub steps: Vec<Step>,
    /// The passes of more steps.
    pub passes: Vec<Timed>,
    /// How many those were.
    pub profiled: usize,
    /// What the adapter can do at most.
    pub limits: Option<Roofline>,
    /// The memory that was planned.
    pub footprint: Footprint,
    /// Bytes of the buffers that there are, where the backend counts them.
    pub buffers: Option<u64>,
}

/// Passes that have something in common.
struct Group {
    name: &'static str,
    passes: usize,
    seconds: f64,
    flops: u64,
}

impl Report {
    fn seconds(&self) -> f64 {
        self.steps.iter().map(|s| s.seconds).sum()
    }

    /// So much a step, on average.
    fn each(&self, count: impl Fn(&Step) -> f64) -> f64 {
        self.steps.iter().map(count).sum::<f64>() / self.steps.len() as f64
    }

    /// So much a second.
    fn rate(&self, count: impl Fn(&Step) -> f64) -> f64 {
        self.steps.iter().map(count).sum::<f64>() / self.seconds()
    }

    fn times(&self) -> Times {
        Times::new(self.steps.iter().map(|s| s.seconds).collect(), false)
    }

    /// The arithmetic that the model asks for, over what the adapter can do in that time: a backward pass has two products
    /// for each of the forward pass (Chowdhery et al. 2022, appendix B), and what is recomputed does not count.
    fn utilisation(&self) -> Option<f64> {
        let model = 3.0 * self.rate(|s| s.work.forward as f64);
        self.limits.map(|limits| model / limits.flops)
    }

    /// The passes of a step by what they have in common, the longest first.
    fn groups(&self, common: impl Fn(&Timed) -> &'static str) -> Vec<Group> {
        let mut groups: Vec<Group> = vec![];
        for pass in &self.passes {
            let name = common(pass);
            let at = groups.iter().position(|g| g.name == name).unwrap_or_else(|| {
                groups.push(Group { name, passes: 0, seconds: 0.0, flops: 0 });
                groups.len() - 1
            });
            groups[at].passes += 1;
            groups[at].seconds += pass.end - pass.begin;
            groups[at].flops += pass.cost.flops;
        }
        groups.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        groups
    }

    /// Prints on standard output.
    pub fn print(&self) -> Result<()> {
        let (ms, mib) = (|seconds: f64| 1e3 * seconds, |bytes: u64| bytes as f64 / (1u64 << 20) as f64);
        let Start { plan, load, first } = self.start;
        let (times, [least, most], [low, high]) = (self.times(), self.times().range(), self.times().quartiles());
        out!("{:12} {}, {:.2} M parameters; {}", "recipe", self.recipe, self.parameters as f64 / 1e6, self.about);
        out!(
            "{:12} {:.0} ms, the median of {}; {:.0} to {:.0} ms, the middle half {:.0} to {:.0} ms",
            "a step",
            ms(times.median()),
            times.runs(),
            ms(least),
            ms(most),
            ms(low),
            ms(high)
        );
        out!(
            "{:12} {:.2} s: plans {plan:.2}, kernels and memory {load:.2}, the step itself {first:.2}",
            "first step",
            plan + load + first
        );
        out!(
            "{:12} {:.0} target tokens/s, {:.0} positions/s with sources and padding; {:.0} and {:.0} a step",
            "speed",
            self.rate(|s| s.tokens as f64),
            self.rate(|s| s.positions as f64),
            self.each(|s| s.tokens as f64),
            self.each(|s| s.positions as f64)
        );
        if let (Some(limits), Some(utilisation)) = (self.limits, self.utilisation()) {
            out!(
                "{:12} {:.2} GFLOP a step, {:.1} GFLOP/s of {:.1} that multiply-adds reach here",
                "arithmetic",
                self.each(|s| s.work.flops as f64) / 1e9,
                self.rate(|s| s.work.flops as f64) / 1e9,
                limits.flops / 1e9
            );
            out!("{:12} {:.1} % of them: three times the forward pass's", "model FLOP", 100.0 * utilisation);
            out!(
                "{:12} {:.0} in {:.0} submissions a step; alone they would take {:.1} ms",
                "dispatches",
                self.each(|s| s.work.dispatches as f64),
                self.each(|s| s.work.submissions as f64),
                ms(self.each(
                    |s| s.work.dispatches as f64 * limits.dispatch + s.work.submissions as f64 * limits.submission
                ))
            );
        }
        let buffers = self.buffers.map_or(String::new(), |bytes| format!(", {:.1} MiB in buffers", mib(bytes)));
        let process = resident().map_or(String::new(), |[now, most]| {
            format!("; the process {:.0} MiB, {:.0} at most", mib(now), mib(most))
        });
        out!("{:12} {:.1} MiB planned{buffers}{process}", "memory", mib(self.footprint.total() as u64));
        if self.passes.is_empty() {
            out!("\nthere are no timestamps here, so nothing is known of single passes");
            return Ok(());
        }
        self.table("phase", &self.groups(|pass| pass.phase.name()))?;
        self.table("operation", &self.groups(|pass| pass.op))
    }

    fn table(&self, of: &str, groups: &[Group]) -> Result<()> {
        let steps = self.profiled as f64;
        let total: f64 = groups.iter().map(|g| g.seconds).sum();
        out!("\n{of:24} {:>8} {:>10} {:>8} {:>10}", "passes", "ms", "share", "GFLOP/s");
        for g in groups {
            let (passes, ms) = (g.passes as f64 / steps, 1e3 * g.seconds / steps);
            let (share, rate) = (100.0 * g.seconds / total, g.flops as f64 / g.seconds.max(1e-12) / 1e9);
            out!("{:24} {passes:8.0} {ms:10.2} {share:7.1}% {rate:10.2}", g.name);
        }
        out!("{:24} {:8.0} {:10.2}", "all", self.passes.len() as f64 / steps, 1e3 * total / steps);
        Ok(())
    }

    /// The same as an object; seconds, FLOP and bytes.
    pub fn json(&self) -> Value {
        let steps = self.profiled as f64;
        let table = |groups: Vec<Group>| -> Vec<Value> {
            let total: f64 = groups.iter().map(|g| g.seconds).sum();
            let row = |g: &Group| {
                json!({ "name": g.name, "passes": g.passes as f64 / steps, "seconds": g.seconds / steps,
                    "share": g.seconds / total, "flops_per_second": g.flops as f64 / g.seconds.max(1e-12) })
            };
            groups.iter().map(row).collect()
        };
        let Start { plan, load, first } = self.start;
        let (process, times) = (resident(), self.times());
        json!({
            "recipe": self.recipe, "data": self.about, "device": self.device, "parameters": self.parameters,
            "step_seconds": { "median": times.median(), "least": times.range()[0], "most": times.range()[1],
                "quartiles": times.quartiles(),
                "all": self.steps.iter().map(|s| s.seconds).collect::<Vec<_>>() },
            "first_step_seconds": { "plan": plan, "load": load, "step": first },
            "tokens_per_second": self.rate(|s| s.tokens as f64),
            "positions_per_second": self.rate(|s| s.positions as f64),
            "tokens_per_step": self.each(|s| s.tokens as f64),
            "flops_per_step": self.each(|s| s.work.flops as f64),
            "flops_per_second": self.rate(|s| s.work.flops as f64),
            "limits": self.limits.map(|limits| limits.json()),
            "model_flop_utilisation": self.utilisation(),
            "dispatches_per_step": self.each(|s| s.work.dispatches as f64),
            "submissions_per_step": self.each(|s| s.work.submissions as f64),
            "memory": { "planned": self.footprint.total(), "buffers": self.buffers,
                "process": process.map(|p| p[0]), "process_most": process.map(|p| p[1]) },
            "phases": table(self.groups(|pass| pass.phase.name())),
            "operations": table(self.groups(|pass| pass.op)),
        })
    }
}

/// Bytes of the process that are in memory, now and at most, where the system tells.
fn resident() -> Option<[u64; 2]> {
    let status = files::read_text(Path::new("/proc/self/status"), files::SETTINGS).ok()?;
    let kib = |key: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    Some([kib("VmRSS:")? << 10, kib("VmHWM:")? << 10])
}
