// o = dropout(softmax(SCALE q kT)) v per head, lse = log of the sum of exp(SCALE q kT) over the keys that a row sees
// One subgroup of 8 lanes per 16 queries of a head. Keys pass in blocks, whose scores and then weights wait in workgroup
// memory; the maximum and the sum of each row run along (Milakov and Gimelshein 2018, Dao 2023). For software adapters,
// on which a load costs as much as eight multiply-adds. D is a multiple of 4.
import package::lib::matrices::{matrix_base};
import package::lib::philox::{philox};
import package::lib::tile::{tile_steps};
import package::lib::weights::{keys_seen, kept, mask_lengths};

const KEYS: u32 = 128u; // of a block

override HEADS: u32;
override D: u32;
override SCALE: f32;

@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>; // (B, T, H*D)
@group(0) @binding(1) var<storage, read> k: array<vec4<f32>>; // (B, S, H*D)
@group(0) @binding(2) var<storage, read> v: array<vec4<f32>>; // (B, S, H*D)
@group(0) @binding(3) var<storage, read> mask: array<u32>; // (16 + B): step state, lengths; (B) without dropout
@group(0) @binding(4) var<storage, read_write> o: array<vec4<f32>>; // (B, T, H*D)
@group(0) @binding(5) var<storage, read_write> lse: array<f32>; // (B, H, T)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // T, S, site

var<workgroup> weights: array<vec4<f32>, 16u * KEYS / 4u>; // [query][key / 4]

@compute @workgroup_size(8)
fn attention_lanes(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
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

    var top: array<f32, 16>;
    var total: array<f32, 16>; // this lane's part of the row's sum
    for (var i = 0u; i < 16u; i++) {
        top[i] = -3.4e38;
        total[i] = 0.0;
    }
    // Once at least, so that rows that see no key get their zeros.
    for (var s0 = 0u; s0 < max(end, 1u); s0 += KEYS) {
        let tiles = (min(KEYS, end - s0) + 31u) / 32u;
        let last = s0 + KEYS >= end;
        var seen: array<f32, 16>; // maxima of this lane's scores
        for (var i = 0u; i < 16u; i++) {
            seen[i] = -3.4e38;
        }
        for (var tile = 0u; tile < tiles; tile++) {
            let s = s0 + 32u * tile + 4u * lane;
            let row = k_base + min(vec4(s) + vec4(0u, 1u, 2u, 3u), vec4(run.y - 1u)) * stride;
            var sum: array<vec4<f32>, 16>;
            for (var d = 0u; d < D / 4u; d++) {
                tile_steps(&sum, q[low + d], q[high + d],
                           transpose(mat4x4(k[row.x + d], k[row.y + d], k[row.z + d], k[row.w + d])));
            }
            for (var i = 0u; i < 16u; i++) {
                let sees = vec4(s) + vec4(0u, 1u, 2u, 3u) < vec4(keys_seen(t0 + i, length));
                let score = select(vec4(-3.4e38), SCALE * sum[i], sees);
                seen[i] = max(seen[i], max(max(score.x, score.y), max(score.z, score.w)));
                weights[i * KEYS / 4u + 8u * tile + lane] = score;
            }
        }
        var shrink: array<f32, 16>;
        for (var i = 0u; i < 16u; i++) {
            let now = max(top[i], subgroupMax(seen[i]));
            shrink[i] = exp(top[i] - now);
            total[i] *= shrink[i];
            top[i] = now;
        }
        for (var tile = 0u; tile < tiles; tile++) {
            let s = s0 + 32u * tile + 4u * lane;
            for (var i = 0u; i < 16u; i++) {
                let at = i * KEYS / 4u + 8u * tile + lane;
                let sees = vec4(s) + vec4(0u, 1u, 2u, 3u) < vec4(keys_seen(t0 + i, length));
                var w = select(vec4(0.0), exp(weights[at] - top[i]), sees);
                total[i] += (w.x + w.y) + (w.z + w.w);
                if (THRESHOLD > 0u) {
                    w *= kept(philox(vec4(s / 4u, t0 + i, head, mask[1]), vec2(mask[0], run.z)));
                }
                weights[at] = w;
            }
        }
        var share: array<f32, 16>; // what the finished row is divided by, as a factor
        for (var i = 0u; i < 16u; i++) {
            share[i] = 1.0;
            if (last) {
                total[i] = subgroupAdd(total[i]);
                share[i] = select(0.0, 1.0 / total[i], total[i] > 0.0);
            }
        }
        workgroupBarrier();
        for (var c0 = 0u; c0 < D / 4u; c0 += 8u) {
            let c = c0 + lane;
            let column = min(c, D / 4u - 1u);
            var sum: array<vec4<f32>, 16>;
            if (s0 > 0u) {
                for (var i = 0u; i < 16u; i++) {
                    sum[i] = o[q_base + min(t0 + i, run.x - 1u) * stride + column] * shrink[i];
                }
            }
            for (var g = 0u; g < 8u * tiles; g++) {
                let row = k_base + min(vec4(s0 + 4u * g) + vec4(0u, 1u, 2u, 3u), vec4(run.y - 1u)) * stride + column;
                tile_steps(&sum, weights[lane * KEYS / 4u + g], weights[(lane + 8u) * KEYS / 4u + g],
                           mat4x4(v[row.x], v[row.y], v[row.z], v[row.w]));
            }
            for (var i = 0u; i < 16u; i++) {
                if (t0 + i < run.x && c < D / 4u) {
                    o[q_base + (t0 + i) * stride + c] = sum[i] * share[i];
                }
            }
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < 16u; i++) {
        if (t0 + i < run.x && lane == 0u) {
            lse[head * run.x + t0 + i] = select(0.0, top[i] + log(total[i]), total[i] > 0.0);
        }
    }
}
