// o = softmax(SCALE q kT) v per head, for one query a row, over cached keys: key s of row r lies in row origin[r, s]
// LANES threads share a head, 64 / LANES heads a workgroup, all of one row r. Keys pass in blocks of LANES; the maximum
// and the sum run along (Milakov and Gimelshein 2018).
import package::lib::lanes::{LANES, lanes_max, lanes_sum};

const CHUNKS: u32 = 2u; // columns of o that a thread has: D / LANES, rounded up

override HEADS: u32;
override D: u32;
override SCALE: f32;

@group(0) @binding(0) var<storage, read> q: array<f32>; // (R, H*D)
@group(0) @binding(1) var<storage, read> k: array<f32>; // (N, S, H*D)
@group(0) @binding(2) var<storage, read> v: array<f32>; // (N, S, H*D)
@group(0) @binding(3) var<storage, read> lengths: array<u32>; // (R)
@group(0) @binding(4) var<storage, read> origin: array<u32>; // (R, S), or (R, 1): one row for all keys
@group(0) @binding(5) var<storage, read_write> o: array<f32>; // (R, H*D)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // S, columns of origin

var<workgroup> weights: array<f32, 64>;
var<workgroup> places: array<u32, 64>; // first element of each key of the block, in k and v

@compute @workgroup_size(64)
fn attention_step(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let r = group.x;
    let lane = index % LANES;
    let first = index - lane; // of the threads that share the head
    let head = min(group.y * (64u / LANES) + index / LANES, HEADS - 1u);
    let live = group.y * (64u / LANES) + index / LANES < HEADS;
    let stride = HEADS * D;
    let base = r * stride + head * D;
    let length = min(lengths[r], run.x);

    var top = -3.4e38;
    var total = 0.0; // this thread's part of the sum
    var sum: array<f32, CHUNKS>;
    for (var s0 = 0u; s0 < length; s0 += LANES) {
        let s = min(s0 + lane, length - 1u);
        let row = origin[r * run.y + min(s, run.y - 1u)];
        let place = (row * run.x + s) * stride + head * D;
        var score = 0.0;
        for (var d = 0u; d < D; d++) {
            score += q[base + d] * k[place + d];
        }
        score = select(-3.4e38, SCALE * score, s0 + lane < length);
        let now = max(top, lanes_max(score, index));
        let shrink = exp(top - now);
        let weight = select(0.0, exp(score - now), s0 + lane < length);
        top = now;
        total = total * shrink + weight;
        workgroupBarrier();
        weights[index] = weight;
        places[index] = place;
        workgroupBarrier();
        for (var i = 0u; i < CHUNKS; i++) {
            let d = min(lane + i * LANES, D - 1u);
            var part = sum[i] * shrink;
            for (var j = 0u; j < min(LANES, length - s0); j++) {
                part += weights[first + j] * v[places[first + j] + d];
            }
            sum[i] = part;
        }
    }
    let all = lanes_sum(total, index);
    for (var i = 0u; i < CHUNKS; i++) {
        let d = lane + i * LANES;
        if (live && d < D) {
            o[base + d] = select(0.0, sum[i] / all, length > 0u);
        }
    }
}
