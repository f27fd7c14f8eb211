//! seqloom trains sequence models in compute shaders.
//!
//! An operation is one room ([`ops`]); a model ([`models`]) adds operations to a [`graph`]; gradients ([`mod@grad`]) are
//! more operations of the same graph; a planner ([`plan`]) turns the graph into a list of passes; two executors play
//! it, one on the GPU ([`gpu`]), one on the CPU ([`cpu`]).

pub mod attention;
pub mod case;
pub mod checkpoint;
pub mod cpu;
pub mod decode;
pub mod device;
pub mod error;
pub mod gpu;
pub mod grad;
pub mod graph;
pub mod interchange;
#[cfg(feature = "isa")]
pub mod isa;
pub mod large;
pub mod lockstep;
pub mod models;
pub mod network;
pub mod op;
pub mod ops;
pub mod parameters;
pub mod philox;
pub mod plan;
pub mod recipe;
pub mod shader;
pub mod step;
pub mod tensor;
pub mod text;
pub mod train;
pub mod verify;
