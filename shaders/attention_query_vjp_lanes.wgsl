// dq = SCALE dS k per head, dS = P (dropout(do vT) - delta), P = exp(SCALE q kT - lse) over the keys that a row sees
// One subgroup of 8 lanes per 16 queries of a head; dS waits in workgroup memory for a block of keys at a time. For
// software adapters, as attention_lanes. D is a multiple of 4.
import package::lib::matrices::{matrix_base};
import package::lib::philox::{philox};
import package::lib::tile::{tile_steps};
import package::lib::weights::{keys_seen, kept, mask_lengths};

const KEYS: u32 = 256u; // of a block

override HEADS: u32;
override D: u32;
override SCALE: f32;

@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>; // (B, T, H*D)
@group(0) @binding(1) var<storage, read> k: array<vec4<f32>>; // (B, S, H*D)
@group(0) @binding(2) var<storage, read> v: array<vec4<f32>>; // (B, S, H*D)
@group(0) @binding(3) var<storage, read> d_o: array<vec4<f32>>; // (B, T, H*D)
@group(0) @binding(4) var<storage, read> statistics: array<vec2<f32>>; // (B, H, T): lse, delta
@group(0) @binding(5) var<storage, read> mask: array<u32>; // (16 + B): step state, lengths; (B) without dropout
@group(0) @binding(6) var<storage, read_write> dq: array<vec4<f32>>; // (B, T, H*D)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // T, S, site

var<workgroup> slopes: array<vec4<f32>, 16u * KEYS / 4u>; // dP, then dS: [query][key / 4]

@compute @workgroup_size(8)
fn attention_query_vjp_lanes(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let t0 = 16u * group.x;
    let head = group.z;
    let stride = HEADS * D / 4u;
    let q_base = matrix_base(head, run.x, D / 4u, HEADS);
    let k_base = matrix_base(head, run.y, D / 4u, HEADS);
    let length = min(mask[mask_lengths() + head / HEADS], run.y);
    let end = keys_seen(t0 + 15u, length);
    // What lies past the end is read from the last row and not written.
    let low = q_base + min(t0 + lane, run.x - 1u) * stride;
    let high = q_base + min(t0 + lane + 8u, run.x - 1u) * stride;

    var row_statistics: array<vec2<f32>, 16>;
    for (var i = 0u; i < 16u; i++) {
        row_statistics[i] = statistics[head * run.x + min(t0 + i, run.x - 1u)];
    }
    // Once at least, so that rows that see no key get their zeros.
    for (var s0 = 0u; s0 < max(end, 1u); s0 += KEYS) {
        let tiles = (min(KEYS, end - s0) + 31u) / 32u;
        for (var tile = 0u; tile < tiles; tile++) {
            let s = s0 + 32u * tile + 4u * lane;
            let row = k_base + min(vec4(s) + vec4(0u, 1u, 2u, 3u), vec4(run.y - 1u)) * stride;
            var slope: array<vec4<f32>, 16>;
            for (var d = 0u; d < D / 4u; d++) {
                tile_steps(&slope, d_o[low + d], d_o[high + d],
                           transpose(mat4x4(v[row.x + d], v[row.y + d], v[row.z + d], v[row.w + d])));
            }
            for (var i = 0u; i < 16u; i++) {
                slopes[i * KEYS / 4u + 8u * tile + lane] = slope[i];
            }
            if (THRESHOLD > 0u) {
                for (var i = 0u; i < 16u; i++) {
                    let words = philox(vec4(s / 4u, t0 + i, head, mask[1]), vec2(mask[0], run.z));
                    slopes[i * KEYS / 4u + 8u * tile + lane] *= kept(words);
                }
            }
            var score: array<vec4<f32>, 16>;
            for (var d = 0u; d < D / 4u; d++) {
                tile_steps(&score, q[low + d], q[high + d],
                           transpose(mat4x4(k[row.x + d], k[row.y + d], k[row.z + d], k[row.w + d])));
            }
            for (var i = 0u; i < 16u; i++) {
                let at = i * KEYS / 4u + 8u * tile + lane;
                let sees = vec4(s) + vec4(0u, 1u, 2u, 3u) < vec4(keys_seen(t0 + i, length));
                let p = select(vec4(0.0), exp(SCALE * score[i] - row_statistics[i].x), sees);
                slopes[at] = SCALE * p * (slopes[at] - row_statistics[i].y);
            }
        }
        workgroupBarrier();
        for (var c0 = 0u; c0 < D / 4u; c0 += 8u) {
            let c = c0 + lane;
            let column = min(c, D / 4u - 1u);
            var sum: array<vec4<f32>, 16>;
            if (s0 > 0u) {
                for (var i = 0u; i < 16u; i++) {
                    sum[i] = dq[q_base + min(t0 + i, run.x - 1u) * stride + column];
                }
            }
            for (var g = 0u; g < 8u * tiles; g++) {
                let row = k_base + min(vec4(s0 + 4u * g) + vec4(0u, 1u, 2u, 3u), vec4(run.y - 1u)) * stride + column;
                tile_steps(&sum, slopes[lane * KEYS / 4u + g], slopes[(lane + 8u) * KEYS / 4u + g],
                           mat4x4(k[row.x], k[row.y], k[row.z], k[row.w]));
            }
            for (var i = 0u; i < 16u; i++) {
                if (t0 + i < run.x && c < D / 4u) {
                    dq[q_base + (t0 + i) * stride + c] = sum[i];
                }
            }
        }
        workgroupBarrier();
    }
}
