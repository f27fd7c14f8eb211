// What the attention kernels share: which keys a query sees, and dropout on the weights.

override CAUSAL: bool; // a query sees no later key
override THRESHOLD: u32 = 0u; // a random word below it drops a weight; 0 = no dropout
override KEEP: f32 = 1.0; // 1 / (1 - p)

// Where the key lengths start in the mask: behind the step state where there is dropout.
fn mask_lengths() -> u32 {
    return select(0u, 16u, THRESHOLD > 0u);
}

// How many leading keys query t sees.
fn keys_seen(t: u32, length: u32) -> u32 {
    return select(length, min(length, t + 1u), CAUSAL);
}

// What dropout multiplies four weights by, from their random words.
fn kept(words: vec4<u32>) -> vec4<f32> {
    return select(vec4(0.0), vec4(KEEP), words >= vec4(THRESHOLD));
}
