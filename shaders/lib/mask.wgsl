// Which keys a query sees, and which weights dropout keeps.
import package::lib::philox::{philox};

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

// Which weights of queries t to t + 15 and keys s to s + 3 dropout keeps: four bits a row, rows 0 to 7 in x.
fn kept_bits(t: u32, s: u32, head: u32, micro: u32, key: vec2<u32>) -> vec2<u32> {
    var bits = vec2(0u);
    for (var i = 0u; i < 16u; i++) {
        let words = philox(vec4(s / 4u, t + i, head, micro), key);
        let four = select(vec4(0u), vec4(1u, 2u, 4u, 8u), words >= vec4(THRESHOLD));
        let row = (four.x | four.y | four.z | four.w) << (4u * (i % 8u));
        bits |= select(vec2(row, 0u), vec2(0u, row), i >= 8u);
    }
    return bits;
}

// What dropout multiplies row i's four weights by.
fn kept_row(bits: vec2<u32>, i: u32) -> vec4<f32> {
    let four = select(bits.x, bits.y, i >= 8u) >> (4u * (i % 8u));
    return select(vec4(0.0), vec4(KEEP), (vec4(four) & vec4(1u, 2u, 4u, 8u)) != vec4(0u));
}
