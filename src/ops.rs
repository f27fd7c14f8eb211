//! The operations, a room each: types, definition, kernel, derivative, cost and cases in one place.

use crate::case::{Case, varied};
use crate::large::Large;

macro_rules! rooms {
    ($($(#[$doc:meta])* $room:ident,)*) => {
        $($(#[$doc])* pub mod $room;)*

        /// The cases of every room, with ordinary and with adversarial inputs drawn from the seed: (room, case).
        pub fn cases(seed: u64) -> Vec<(&'static str, Case)> {
            let mut all = vec![];
            $(all.extend(varied(seed, $room::cases).into_iter().map(|case| (stringify!($room), case)));)*
            all
        }

        /// The large cases of every room: (room, case).
        pub fn large() -> Vec<(&'static str, Large)> {
            let mut all = vec![];
            $(all.extend($room::large().into_iter().map(|case| (stringify!($room), case)));)*
            all
        }
    };
}

rooms! {
    accumulate,
    adam,
    add,
    add_norm,
    argmax,
    attention,
    attention_step,
    bias,
    cache,
    cell,
    column_sum,
    columns,
    concat,
    conv1d,
    copy,
    cross_entropy,
    dropout,
    embedding,
    fill,
    gelu,
    gelu_new,
    global_attention,
    grad_norm,
    highway,
    layer_norm,
    length_mask,
    matmul,
    matmul_add,
    max_pool,
    mul,
    peak,
    positions,
    record,
    recurrence,
    relu,
    rotary,
    rows,
    scale,
    sgd,
    sigmoid,
    softmax,
    sum,
    tanh,
    transpose,
}
