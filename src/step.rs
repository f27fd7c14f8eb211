//! The step state: sixteen words in a resident buffer that change every step.
//!
//! The host writes the first half before a step, `clip` writes the rest between the backward pass and the update.

use crate::tensor::Type;

/// Seed of the run, first half of every generator's key.
pub const SEED: usize = 0;
/// Number of the micro-batch over all steps, step · accumulate + micro-batch: part of every generator's counter.
pub const MICRO: usize = 1;
/// Learning rate, as f32 bits.
pub const LEARNING_RATE: usize = 2;
/// 1 / (1 - beta1^step), as f32 bits.
pub const CORRECTION1: usize = 3;
/// 1 / (1 - beta2^step), as f32 bits.
pub const CORRECTION2: usize = 4;
/// Where the log of this step goes.
pub const SLOT: usize = 5;
/// 0 for the first micro-batch of a step, whose gradients replace those of the step before; 1 for the others.
pub const ADD: usize = 6;
/// Global norm of the gradient before clipping, as f32 bits.
pub const NORM: usize = 8;
/// What clipping multiplies the gradient by, as f32 bits.
pub const FACTOR: usize = 9;
/// 1 until a norm is not finite; 0 makes every update from then on change nothing.
pub const GO: usize = 10;

/// Type of the step state.
pub fn step_type() -> Type {
    Type::u32([16])
}
