// dv = dropout(P)T do and dk = SCALE dST q per head, P and dS as in attention_query_vjp
// One subgroup of 8 lanes per 16 keys of a head; PT and dST wait in workgroup memory for a block of queries at a time.
// For software adapters, as attention_lanes. D is a multiple of 4.
import package::lib::matrices::{matrix_base};
import package::lib::philox::{philox};
import package::lib::tile::{tile_steps};
import package::lib::weights::{keys_seen, kept, mask_lengths};

const QUERIES: u32 = 128u; // of a block

override HEADS: u32;
override D: u32;
override SCALE: f32;

@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>; // (B, T, H*D)
@group(0) @binding(1) var<storage, read> k: array<vec4<f32>>; // (B, S, H*D)
@group(0) @binding(2) var<storage, read> v: array<vec4<f32>>; // (B, S, H*D)
@group(0) @binding(3) var<storage, read> d_o: array<vec4<f32>>; // (B, T, H*D)
@group(0) @binding(4) var<storage, read> statistics: array<vec2<f32>>; // (B, H, T): lse, delta
@group(0) @binding(5) var<storage, read> mask: array<u32>; // (16 + B): step state, lengths; (B) without dropout
@group(0) @binding(6) var<storage, read_write> dk: array<vec4<f32>>; // (B, S, H*D)
@group(0) @binding(7) var<storage, read_write> dv: array<vec4<f32>>; // (B, S, H*D)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // T, S, site

var<workgroup> weights: array<vec4<f32>, 16u * QUERIES / 4u>; // PT: [key][query / 4]
var<workgroup> slopes: array<vec4<f32>, 16u * QUERIES / 4u>; // dPT, then dST

@compute @workgroup_size(8)
fn attention_key_vjp_lanes(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let s0 = 16u * group.x;
    let head = group.z;
    let stride = HEADS * D / 4u;
    let q_base = matrix_base(head, run.x, D / 4u, HEADS);
    let k_base = matrix_base(head, run.y, D / 4u, HEADS);
    let length = min(mask[mask_lengths() + head / HEADS], run.y);
    // What lies past the end is read from the last row and not written.
    let low = k_base + min(s0 + lane, run.y - 1u) * stride;
    let high = k_base + min(s0 + lane + 8u, run.y - 1u) * stride;
    let begin = select(0u, s0 / QUERIES * QUERIES, CAUSAL);
    // Keys that no query sees have nothing to add up, but are written once.
    let end = select(min(begin + 1u, run.x), run.x, s0 < length);

    for (var t0 = begin; t0 < max(end, begin + 1u); t0 += QUERIES) {
        let tiles = (min(QUERIES, max(end, t0) - t0) + 31u) / 32u;
        for (var tile = 0u; tile < tiles; tile++) {
            let t = vec4(t0 + 32u * tile + 4u * lane) + vec4(0u, 1u, 2u, 3u);
            let inside = min(t, vec4(run.x - 1u));
            let row = q_base + inside * stride;
            var slope: array<vec4<f32>, 16>;
            for (var d = 0u; d < D / 4u; d++) {
                tile_steps(&slope, v[low + d], v[high + d],
                           transpose(mat4x4(d_o[row.x + d], d_o[row.y + d], d_o[row.z + d], d_o[row.w + d])));
            }
            for (var i = 0u; i < 16u; i++) {
                slopes[i * QUERIES / 4u + 8u * tile + lane] = slope[i];
            }
            var score: array<vec4<f32>, 16>;
            for (var d = 0u; d < D / 4u; d++) {
                tile_steps(&score, k[low + d], k[high + d],
                           transpose(mat4x4(q[row.x + d], q[row.y + d], q[row.z + d], q[row.w + d])));
            }
            let a = statistics[head * run.x + inside.x];
            let b = statistics[head * run.x + inside.y];
            let c = statistics[head * run.x + inside.z];
            let e = statistics[head * run.x + inside.w];
            let lse = vec4(a.x, b.x, c.x, e.x);
            let delta = vec4(a.y, b.y, c.y, e.y);
            let seen = select(vec4(0u), vec4(keys_seen(t.x, length), keys_seen(t.y, length), keys_seen(t.z, length),
                                             keys_seen(t.w, length)), t < vec4(run.x));
            for (var i = 0u; i < 16u; i++) {
                weights[i * QUERIES / 4u + 8u * tile + lane] =
                    select(vec4(0.0), exp(SCALE * score[i] - lse), vec4(s0 + i) < seen);
            }
            for (var i = 0u; i < 16u; i += 4u) {
                var keep = mat4x4(vec4(1.0), vec4(1.0), vec4(1.0), vec4(1.0)); // [key][query]
                if (THRESHOLD > 0u) {
                    let key = vec2(mask[0], run.z);
                    let s = (s0 + i) / 4u;
                    keep = transpose(mat4x4(kept(philox(vec4(s, t.x, head, mask[1]), key)),
                                            kept(philox(vec4(s, t.y, head, mask[1]), key)),
                                            kept(philox(vec4(s, t.z, head, mask[1]), key)),
                                            kept(philox(vec4(s, t.w, head, mask[1]), key))));
                }
                for (var j = 0u; j < 4u; j++) {
                    let at = (i + j) * QUERIES / 4u + 8u * tile + lane;
                    let p = weights[at];
                    slopes[at] = SCALE * p * (keep[j] * slopes[at] - delta);
                    weights[at] = keep[j] * p;
                }
            }
        }
        workgroupBarrier();
        for (var c0 = 0u; c0 < D / 4u; c0 += 8u) {
            let c = c0 + lane;
            let column = min(c, D / 4u - 1u);
            var sum: array<vec4<f32>, 16>;
            if (t0 > begin) {
                for (var i = 0u; i < 16u; i++) {
                    sum[i] = dv[k_base + min(s0 + i, run.y - 1u) * stride + column];
                }
            }
            for (var g = 0u; g < 8u * tiles; g++) {
                let row = q_base + min(vec4(t0 + 4u * g) + vec4(0u, 1u, 2u, 3u), vec4(run.x - 1u)) * stride + column;
                tile_steps(&sum, weights[lane * QUERIES / 4u + g], weights[(lane + 8u) * QUERIES / 4u + g],
                           mat4x4(d_o[row.x], d_o[row.y], d_o[row.z], d_o[row.w]));
            }
            for (var i = 0u; i < 16u; i++) {
                if (s0 + i < run.y && c < D / 4u) {
                    dv[k_base + (s0 + i) * stride + c] = sum[i];
                }
            }
            var sum_k: array<vec4<f32>, 16>;
            if (t0 > begin) {
                for (var i = 0u; i < 16u; i++) {
                    sum_k[i] = dk[k_base + min(s0 + i, run.y - 1u) * stride + column];
                }
            }
            for (var g = 0u; g < 8u * tiles; g++) {
                let row = q_base + min(vec4(t0 + 4u * g) + vec4(0u, 1u, 2u, 3u), vec4(run.x - 1u)) * stride + column;
                tile_steps(&sum_k, slopes[lane * QUERIES / 4u + g], slopes[(lane + 8u) * QUERIES / 4u + g],
                           mat4x4(q[row.x], q[row.y], q[row.z], q[row.w]));
            }
            for (var i = 0u; i < 16u; i++) {
                if (s0 + i < run.y && c < D / 4u) {
                    dk[k_base + (s0 + i) * stride + c] = sum_k[i];
                }
            }
        }
        workgroupBarrier();
    }
}
