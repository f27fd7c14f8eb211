// o = softmax(SCALE q kT) v per head, for one query a row, over cached keys: key s of row r lies in row origin[r, s]
// Eight threads per head of a row. Thread l walks over the keys l, l + 8, l + 16 and so on with a maximum, a sum and a
// weighted sum of values of its own (Milakov and Gimelshein 2018); in the end the eight are put together. For software
// adapters, on which a load costs as much as many multiply-adds: every key and value is loaded once, as vec4s.
import package::lib::quads::{D, quad_between};

const QUADS: u32 = 8u; // D / 4, rounded up

override HEADS: u32;
override SCALE: f32;

@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>; // (R, H*D)
@group(0) @binding(1) var<storage, read> k: array<vec4<f32>>; // (N, S, H*D)
@group(0) @binding(2) var<storage, read> v: array<vec4<f32>>; // (N, S, H*D)
@group(0) @binding(3) var<storage, read> lengths: array<u32>; // (R)
@group(0) @binding(4) var<storage, read> origin: array<u32>; // (R, S), or (R, 1): one row for all keys
@group(0) @binding(5) var<storage, read_write> o: array<f32>; // (R, H*D)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // S, columns of origin

var<workgroup> tops: array<f32, 8>;
var<workgroup> totals: array<f32, 8>;
var<workgroup> sums: array<vec4<f32>, 64>; // (8, 8): eight quads at a time

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

@compute @workgroup_size(8)
fn attention_step_lanes(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let r = group.x;
    let head = group.y * D;
    let stride = HEADS * D;
    let length = min(lengths[r], run.x);

    var query: array<vec4<f32>, QUADS>;
    for (var i = 0u; i < QUADS; i++) {
        query[i] = query_quad(r * stride + head, i);
    }
    var top = -3.4e38;
    var total = 0.0;
    var sum: array<vec4<f32>, QUADS>;
    for (var s = lane; s < length; s += 8u) {
        let row = origin[r * run.y + min(s, run.y - 1u)];
        let base = (row * run.x + s) * stride + head;
        var products = vec4(0.0);
        for (var i = 0u; i < QUADS; i++) {
            products = fma(query[i], key_quad(base, i), products);
        }
        let score = SCALE * ((products.x + products.y) + (products.z + products.w));
        let now = max(top, score);
        let shrink = exp(top - now);
        let weight = exp(score - now);
        top = now;
        total = fma(total, shrink, weight);
        for (var i = 0u; i < QUADS; i++) {
            sum[i] = fma(vec4(weight), value_quad(base, i), sum[i] * shrink);
        }
    }

    tops[lane] = top;
    workgroupBarrier();
    for (var l = 0u; l < 8u; l++) {
        top = max(top, tops[l]);
    }
    let shrink = exp(tops[lane] - top);
    totals[lane] = total * shrink;
    workgroupBarrier();
    total = 0.0;
    for (var l = 0u; l < 8u; l++) {
        total += totals[l];
    }
    for (var i = 0u; i < QUADS; i += 8u) {
        for (var j = 0u; j < min(8u, QUADS - i); j++) {
            sums[8u * lane + j] = sum[i + j] * shrink;
        }
        workgroupBarrier();
        let quad = i + lane;
        if (quad < QUADS) {
            var all = vec4(0.0);
            for (var l = 0u; l < 8u; l++) {
                all += sums[8u * l + lane];
            }
            all = select(vec4(0.0), all / total, length > 0u);
            for (var j = 0u; j < min(4u, D - 4u * quad); j++) {
                o[r * stride + head + 4u * quad + j] = all[j];
            }
        }
        workgroupBarrier();
    }
}
