// o = softmax(SCALE q kT) v per head, for one query a row, over cached keys: key s of row r lies in row origin[r, s]
// One workgroup per head of a row. Keys pass in blocks of 256: each thread scores one; then threads lie along the columns,
// four each, and the keys of a block are dealt out to as many parts as there are threads for. The maximum and the sum run
// along (Milakov and Gimelshein 2018); the parts are added in the end.
import package::lib::quads::{D, quad_between};

const QUADS: u32 = 8u; // fours of columns, in slices of at most 256: min(D / 4, 256), rounded up

override HEADS: u32;
override SCALE: f32;

@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>; // (R, H*D)
@group(0) @binding(1) var<storage, read> k: array<vec4<f32>>; // (N, S, H*D)
@group(0) @binding(2) var<storage, read> v: array<vec4<f32>>; // (N, S, H*D)
@group(0) @binding(3) var<storage, read> lengths: array<u32>; // (R)
@group(0) @binding(4) var<storage, read> origin: array<u32>; // (R, S), or (R, 1): one row for all keys
@group(0) @binding(5) var<storage, read_write> o: array<f32>; // (R, H*D)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // S, columns of origin

var<workgroup> scores: array<f32, 256>;
var<workgroup> tops: array<f32, 16>; // of 16 scores each
var<workgroup> weights: array<f32, 256>;
var<workgroup> bases: array<u32, 256>; // first element of each key of the block, in k and v
var<workgroup> totals: array<f32, 256>; // (256 / QUADS, QUADS)
var<workgroup> sums: array<vec4<f32>, 256>; // (256 / QUADS, QUADS)

// Columns 4 i to 4 i + 4 of the head whose first element is `base`.
fn query_quad(base: u32, i: u32) -> vec4<f32> {
    let e = base + 4u * i;
    if (D % 4u == 0u) {
        return q[e / 4u];
    }
    return quad_between(q[e / 4u], q[min(e / 4u + 1u, arrayLength(&q) - 1u)], e % 4u, 4u * i);
}

fn key_quad(base: u32, i: u32) -> vec4<f32> {
    let e = base + 4u * i;
    if (D % 4u == 0u) {
        return k[e / 4u];
    }
    return quad_between(k[e / 4u], k[min(e / 4u + 1u, arrayLength(&k) - 1u)], e % 4u, 4u * i);
}

fn value_quad(base: u32, i: u32) -> vec4<f32> {
    let e = base + 4u * i;
    if (D % 4u == 0u) {
        return v[e / 4u];
    }
    return quad_between(v[e / 4u], v[min(e / 4u + 1u, arrayLength(&v) - 1u)], e % 4u, 4u * i);
}

@compute @workgroup_size(256)
fn attention_step(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let r = group.x;
    let head = group.y * D;
    let stride = HEADS * D;
    let length = min(lengths[r], run.x);
    let quad = group.z * 256u + index % QUADS;
    let part = index / QUADS;
    let parts = 256u / QUADS;

    var top = -3.4e38;
    var total = 0.0; // of this thread's part of the keys
    var sum = vec4(0.0);
    for (var s0 = 0u; s0 < length; s0 += 256u) {
        let s = s0 + index;
        var base = 0u;
        var score = -3.4e38;
        if (s < length) {
            let row = origin[r * run.y + min(s, run.y - 1u)];
            base = (row * run.x + s) * stride + head;
            var products = vec4(0.0);
            for (var i = 0u; i < (D + 3u) / 4u; i++) {
                products = fma(query_quad(r * stride + head, i), key_quad(base, i), products);
            }
            score = SCALE * ((products.x + products.y) + (products.z + products.w));
        }
        scores[index] = score;
        workgroupBarrier(); // the block before has been added
        if (index < 16u) {
            var most = scores[16u * index];
            for (var i = 1u; i < 16u; i++) {
                most = max(most, scores[16u * index + i]);
            }
            tops[index] = most;
        }
        workgroupBarrier();
        var now = top;
        for (var i = 0u; i < 16u; i++) {
            now = max(now, tops[i]);
        }
        let shrink = exp(top - now);
        top = now;
        weights[index] = exp(score - now);
        bases[index] = base;
        workgroupBarrier();
        total *= shrink;
        sum *= shrink;
        if (part < parts && 4u * quad < D) {
            for (var j = part; j < min(256u, length - s0); j += parts) {
                total += weights[j];
                sum = fma(vec4(weights[j]), value_quad(bases[j], quad), sum);
            }
        }
    }

    totals[index] = total;
    sums[index] = sum;
    workgroupBarrier();
    if (part == 0u && 4u * quad < D) {
        for (var p = 1u; p < parts; p++) {
            total += totals[p * QUADS + index];
            sum += sums[p * QUADS + index];
        }
        sum = select(vec4(0.0), sum / total, length > 0u);
        for (var j = 0u; j < min(4u, D - 4u * quad); j++) {
            o[r * stride + head + 4u * quad + j] = sum[j];
        }
    }
}
