// o = dropout(softmax(SCALE q kT)) v per head, lse = log of the sum of exp(SCALE q kT) over the keys that a row sees
// One workgroup per 32 queries of a head and CHUNKS * 32 columns of o, in the registers of its threads. Keys pass in
// blocks of 32; the maximum and the sum of each row run along (Milakov and Gimelshein 2018, Dao 2023).
import package::lib::blocks::{BLOCK, BLOCK_ROW, blocks, block_keep, block_max, block_product, block_sum};
import package::lib::matrices::{matrix_base};
import package::lib::philox::{philox};
import package::lib::mask::{THRESHOLD, keys_seen, kept, mask_lengths};

const CHUNKS: u32 = 2u;

override HEADS: u32;
override D: u32;
override SCALE: f32;

@group(0) @binding(0) var<storage, read> q: array<f32>; // (B, T, H*D)
@group(0) @binding(1) var<storage, read> k: array<f32>; // (B, S, H*D)
@group(0) @binding(2) var<storage, read> v: array<f32>; // (B, S, H*D)
@group(0) @binding(3) var<storage, read> mask: array<u32>; // (16 + B): step state, lengths; (B) without dropout
@group(0) @binding(4) var<storage, read_write> o: array<f32>; // (B, T, H*D)
@group(0) @binding(5) var<storage, read_write> lse: array<f32>; // (B, H, T)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // T, S, site

@compute @workgroup_size(64)
fn attention(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let t0 = 32u * group.x;
    let c0 = 32u * CHUNKS * group.y;
    let head = group.z;
    let stride = HEADS * D;
    let q_base = matrix_base(head, run.x, D, HEADS);
    let k_base = matrix_base(head, run.y, D, HEADS);
    let length = min(mask[mask_lengths() + head / HEADS], run.y);
    let end = keys_seen(t0 + 31u, length);
    let t = t0 + 4u * (index / 8u); // first of the thread's four queries
    let x = 4u * (index % 8u); // first of its four columns of a block

    var top = vec4(-3.4e38);
    var total = vec4(0.0); // this thread's part of the rows' sums
    var sum: array<vec4<f32>, 4u * CHUNKS>;
    for (var s0 = 0u; s0 < end; s0 += 32u) {
        var score: array<vec4<f32>, 4>;
        for (var d0 = 0u; d0 < D; d0 += 32u) {
            workgroupBarrier();
            for (var e = index; e < 256u; e += 64u) {
                let d = d0 + e % 32u;
                let rows = vec4(4u * (e / 32u)) + vec4(0u, 1u, 2u, 3u);
                let at_q = min(vec4(t0) + rows, vec4(run.x - 1u)) * stride + q_base + d;
                let at_k = min(vec4(s0) + rows, vec4(run.y - 1u)) * stride + k_base + d;
                var a = vec4(0.0); // past the last column
                var b = vec4(0.0);
                if (d < D) {
                    a = vec4(q[at_q.x], q[at_q.y], q[at_q.z], q[at_q.w]);
                    b = vec4(k[at_k.x], k[at_k.y], k[at_k.z], k[at_k.w]);
                }
                blocks[e % 32u * BLOCK_ROW + e / 32u] = a;
                blocks[BLOCK + e % 32u * BLOCK_ROW + e / 32u] = b;
            }
            workgroupBarrier();
            block_product(&score, 0u, index);
        }
        let s = vec4(s0 + x) + vec4(0u, 1u, 2u, 3u);
        var seen = top;
        for (var i = 0u; i < 4u; i++) {
            score[i] = select(vec4(-3.4e38), SCALE * score[i], s < vec4(keys_seen(t + i, length)));
            seen[i] = max(seen[i], max(max(score[i].x, score[i].y), max(score[i].z, score[i].w)));
        }
        let now = block_max(seen, index);
        let shrink = exp(top - now);
        top = now;
        total *= shrink;
        for (var i = 0u; i < 4u; i++) {
            var w = select(vec4(0.0), exp(score[i] - now[i]), s < vec4(keys_seen(t + i, length)));
            total[i] += (w.x + w.y) + (w.z + w.w);
            if (THRESHOLD > 0u) {
                w *= kept(philox(vec4(s.x / 4u, t + i, head, mask[1]), vec2(mask[0], run.z)));
            }
            score[i] = w;
        }
        block_keep(score, index);
        for (var c = 0u; c < CHUNKS; c++) {
            workgroupBarrier();
            for (var e = index; e < 256u; e += 64u) {
                let row = k_base + min(s0 + e / 8u, run.y - 1u) * stride;
                let at = row + min(vec4(c0 + 32u * c + 4u * (e % 8u)) + vec4(0u, 1u, 2u, 3u), vec4(D - 1u));
                blocks[BLOCK + e / 8u * BLOCK_ROW + e % 8u] = vec4(v[at.x], v[at.y], v[at.z], v[at.w]);
            }
            workgroupBarrier();
            var part = array(sum[4u * c] * shrink.x, sum[4u * c + 1u] * shrink.y, sum[4u * c + 2u] * shrink.z,
                             sum[4u * c + 3u] * shrink.w);
            block_product(&part, 2u, index);
            for (var i = 0u; i < 4u; i++) {
                sum[4u * c + i] = part[i];
            }
        }
    }
    let all = block_sum(total, index);
    for (var i = 0u; i < 4u; i++) {
        if (t + i < run.x) {
            let some = keys_seen(t + i, length) > 0u;
            for (var c = 0u; c < CHUNKS; c++) {
                for (var j = 0u; j < 4u; j++) {
                    let column = c0 + 32u * c + x + j;
                    if (column < D) {
                        o[q_base + (t + i) * stride + column] = select(0.0, sum[4u * c + i][j] / all[i], some);
                    }
                }
            }
            if (c0 + x == 0u) {
                lse[head * run.x + t + i] = select(0.0, top[i] + log(all[i]), some);
            }
        }
    }
}
