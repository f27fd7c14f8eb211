//! Models: each adds operations to a graph.

pub mod transformer;
