//! Models: each adds operations to a graph.

pub mod char_cnn;
pub mod transformer;
