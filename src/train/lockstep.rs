//! A training step on both executors in lockstep.

use super::Trainer;
use super::graphs::Feeds;
use super::profile::Phase;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::graph::Resident;
use crate::lockstep::{Check, Fault, operations, play};
use crate::plan::Place;
use crate::tensor::Tensor;
use crate::text::batch::BatchPlan;

impl Trainer {
    /// Plays the forward and backward pass on a batch, the update, and the forward pass of an evaluation, all on both
    /// executors in lockstep, and hands over how each pass went. Training cannot go on from here: the update changes the
    /// parameters but not the progress. Errors: the device is not a GPU, or failed; the fault is in an operation that is
    /// not there.
    pub async fn lockstep(
        &mut self,
        plan: &BatchPlan,
        mut fault: Option<Fault>,
        mut each: impl FnMut(Phase, Check),
    ) -> Result<()> {
        let batch = self.train.build(plan);
        let bucket = self.train.buckets().shapes()[plan.bucket];
        let number = self.progress.step + 1;
        let words = self.step_words(number, 0, self.learning_rate(number));
        self.network.device.write_resident(self.state.step, 0, &Tensor::u32([words.len()], words));
        let training = Feeds::new(&self.network, &batch, bucket, 1.0 / batch.tokens.max(1) as f32);
        let evaluation = Feeds::new(&self.network, &batch, bucket, 1.0);
        let held_out = self.valid.buckets().shapes().iter().position(|b| *b == bucket);
        let micro = (Phase::Forward, self.micro + plan.bucket, training.list());
        let update = (Phase::Update, self.update, vec![]);
        let evaluate = held_out.map(|b| (Phase::Evaluation, self.evaluate + b, evaluation.list()));
        let programs: Vec<_> = [micro, update].into_iter().chain(evaluate).collect();
        let Device::Gpu(gpu) = &mut self.network.device else {
            return Err(Error::Device("lockstep needs a GPU beside the CPU".into()));
        };
        if let Some(fault) = &fault {
            let plans = || programs.iter().map(|(_, program, _)| gpu.plan(*program));
            let passes = plans().flat_map(|plan| &plan.passes).filter(|pass| pass.op == fault.op).count();
            let Fault { op, number, .. } = fault;
            if passes == 0 {
                let ops = operations(plans()).join(", ");
                return Err(Error::Input(format!("no pass of this model's step is a {op}; there are {ops}")));
            }
            if !(1..=passes).contains(number) {
                return Err(Error::Input(format!("{op}:{number}: a step has {passes} passes of {op}, counted from 1")));
            }
        }
        for (phase, program, feeds) in programs {
            let plan = gpu.plan(program).clone();
            let tell = |pass, check| each(phase.of(&plan, pass), check);
            play(gpu, program, &feeds, fault.as_mut(), tell).await?;
        }
        Ok(())
    }

    /// What people call an element of a place: of which parameter, gradient or moment. None for what is no part of the flat
    /// buffers.
    pub fn element(&self, place: Place, index: usize) -> Option<String> {
        let Place::Resident(buffer, offset) = place else { return None };
        let parameters = &self.network.parameters;
        let of_shard = |(shard, s): (usize, &crate::parameters::Shard)| {
            let [gradient, moment1, moment2] = s.training.expect("a trainer's parameters");
            let roles: [(Resident, &str); 4] = [
                (s.values, "parameter"),
                (gradient, "gradient of"),
                (moment1, "first moment of"),
                (moment2, "second moment of"),
            ];
            roles.into_iter().find(|(r, _)| *r == buffer).map(|(_, role)| (shard, role))
        };
        let (shard, role) = parameters.shards.iter().enumerate().find_map(of_shard)?;
        let at = offset / 4 + index;
        let elements = |e: &crate::parameters::Entry| e.declaration.dims.iter().product::<usize>();
        let holds =
            |e: &&crate::parameters::Entry| e.shard == shard && (e.offset..e.offset + elements(e)).contains(&at);
        let entry = parameters.entries.iter().find(holds)?;
        Some(format!("{role} {}[{}]", entry.declaration.name, at - entry.offset))
    }
}
