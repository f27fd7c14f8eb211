// weights = softmax over s < length of v . tanh(q + k_s), or of q . k_s; context = sum over s of weights_s values_s
// One workgroup per row of q. WIDTH lanes share a key's score, ACROSS lanes a row of values. Every order of additions follows
// from these numbers and the row's own length, so that neither batch nor padding changes a bit.
import package::lib::grid::{workgroup_index};
import package::lib::gates::{tanh_of};

const LANES: u32 = 256u; // of a workgroup

override WIDTH: u32; // divides LANES
override ACROSS: u32; // divides LANES
override ADDITIVE: bool;
override LINES: bool; // whether rows say which keys they read
override A: u32;
override C: u32;

@group(0) @binding(0) var<storage, read> q: array<f32>; // (B, T, A)
@group(0) @binding(1) var<storage, read> k: array<f32>; // (L, S, A)
@group(0) @binding(2) var<storage, read> v: array<f32>; // (A); not read unless ADDITIVE
@group(0) @binding(3) var<storage, read> values: array<f32>; // (L, S, C)
@group(0) @binding(4) var<storage, read> lengths: array<u32>; // (L)
@group(0) @binding(5) var<storage, read> line: array<u32>; // (B); not read unless LINES
@group(0) @binding(6) var<storage, read_write> context: array<f32>; // (B, T, C)
@group(0) @binding(7) var<storage, read_write> weights: array<f32>; // (B, T, S)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // B*T, T, S

var<workgroup> scratch: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn global_attention(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                    @builtin(local_invocation_index) lane: u32) {
    let row = workgroup_index(group, groups);
    if (row >= run.x) {
        return;
    }
    var source = row / run.y;
    if (LINES) {
        source = line[source];
    }
    let length = min(lengths[source], run.z);
    let base = row * run.z;

    // Scores, which wait where the weights belong.
    for (var s0 = 0u; s0 < length; s0 += LANES / WIDTH) {
        let s = s0 + lane / WIDTH;
        var sum = 0.0;
        if (s < length) {
            sum = score(row * A, (source * run.z + s) * A, lane % WIDTH);
        }
        if (WIDTH > 1u) {
            sum = first_of(sum, lane, WIDTH, 1u);
        }
        if (s < length && lane % WIDTH == 0u) {
            weights[base + s] = sum;
        }
    }
    storageBarrier();

    var top = -3.4e38;
    for (var s = lane; s < length; s += LANES) {
        top = max(top, weights[base + s]);
    }
    top = lanes_max(top, lane);
    var part = 0.0;
    for (var s = lane; s < length; s += LANES) {
        let e = exp(weights[base + s] - top);
        weights[base + s] = e;
        part += e;
    }
    let total = lanes_sum(part, lane);
    for (var s = lane; s < run.z; s += LANES) {
        if (s < length) {
            weights[base + s] /= total;
        } else {
            weights[base + s] = 0.0;
        }
    }
    storageBarrier();

    for (var c0 = 0u; c0 < C; c0 += ACROSS) {
        let c = c0 + lane % ACROSS;
        var sum = 0.0;
        if (c < C) {
            sum = mixed(base, source * run.z * C + c, length, lane / ACROSS);
        }
        if (ACROSS < LANES) {
            sum = first_of(sum, lane, LANES, ACROSS);
        }
        if (c < C && lane < ACROSS) {
            context[row * C + c] = sum;
        }
    }
}

// A lane's part of the score of a key: every WIDTH-th of A terms.
fn score(q0: u32, k0: u32, first: u32) -> f32 {
    var sum = 0.0;
    var a = first;
    for (; a + 3u * WIDTH < A; a += 4u * WIDTH) {
        sum = term(q0, k0, a, sum);
        sum = term(q0, k0, a + WIDTH, sum);
        sum = term(q0, k0, a + 2u * WIDTH, sum);
        sum = term(q0, k0, a + 3u * WIDTH, sum);
    }
    for (; a < A; a += WIDTH) {
        sum = term(q0, k0, a, sum);
    }
    return sum;
}

fn term(q0: u32, k0: u32, a: u32, sum: f32) -> f32 {
    if (ADDITIVE) {
        return fma(v[a], tanh_of(q[q0 + a] + k[k0 + a]), sum);
    }
    return fma(q[q0 + a], k[k0 + a], sum);
}

// A lane's part of a column of the context: every (LANES / ACROSS)-th key.
fn mixed(weight: u32, value: u32, length: u32, first: u32) -> f32 {
    let stride = LANES / ACROSS;
    var sum = 0.0;
    var s = first;
    for (; s + 3u * stride < length; s += 4u * stride) {
        sum = fma(weights[weight + s], values[value + s * C], sum);
        sum = fma(weights[weight + s + stride], values[value + (s + stride) * C], sum);
        sum = fma(weights[weight + s + 2u * stride], values[value + (s + 2u * stride) * C], sum);
        sum = fma(weights[weight + s + 3u * stride], values[value + (s + 3u * stride) * C], sum);
    }
    for (; s < length; s += stride) {
        sum = fma(weights[weight + s], values[value + s * C], sum);
    }
    return sum;
}

// For the first `step` of each `span` lanes the sum over every `step`-th lane of the span, in order of a tree.
fn first_of(value: f32, lane: u32, span: u32, step: u32) -> f32 {
    scratch[lane] = value;
    workgroupBarrier();
    for (var half = span / 2u; half >= step; half = half / 2u) {
        if (lane % span < half) {
            scratch[lane] += scratch[lane + half];
        }
        workgroupBarrier();
    }
    let sum = scratch[lane];
    workgroupBarrier();
    return sum;
}

fn lanes_sum(value: f32, lane: u32) -> f32 {
    _ = first_of(value, lane, LANES, 1u);
    let sum = scratch[0];
    workgroupBarrier();
    return sum;
}

fn lanes_max(value: f32, lane: u32) -> f32 {
    scratch[lane] = value;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half = half / 2u) {
        if (lane < half) {
            scratch[lane] = max(scratch[lane], scratch[lane + half]);
        }
        workgroupBarrier();
    }
    let top = scratch[0];
    workgroupBarrier();
    return top;
}
