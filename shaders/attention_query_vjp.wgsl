// dq = SCALE dS k per head, dS = P (dropout(do vT) - delta), P = exp(min(SCALE q kT - lse, 0)) over the keys that a row sees
// One workgroup per 32 queries of a head and CHUNKS * 32 columns of dq, in the registers of its threads. Keys pass in
// blocks of 32.
import package::lib::blocks::{BLOCK, BLOCK_ROW, blocks, block_keep, block_product};
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
@group(0) @binding(3) var<storage, read> d_o: array<f32>; // (B, T, H*D)
@group(0) @binding(4) var<storage, read> statistics: array<vec2<f32>>; // (B, H, T): lse, delta
@group(0) @binding(5) var<storage, read> mask: array<u32>; // (16 + B): step state, lengths; (B) without dropout
@group(0) @binding(6) var<storage, read_write> dq: array<f32>; // (B, T, H*D)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // T, S, site

// Columns d0 to d0 + 31 of 32 rows of q and of k, or of do and of v, as operands A and B; zeros past the last column.
fn stage(of_scores: bool, q_base: u32, t0: u32, k_base: u32, s0: u32, d0: u32, index: u32) {
    workgroupBarrier();
    for (var e = index; e < 256u; e += 64u) {
        let d = d0 + e % 32u;
        let rows = vec4(4u * (e / 32u)) + vec4(0u, 1u, 2u, 3u);
        let t = min(vec4(t0) + rows, vec4(run.x - 1u)) * (HEADS * D) + q_base + d;
        let s = min(vec4(s0) + rows, vec4(run.y - 1u)) * (HEADS * D) + k_base + d;
        var a = vec4(0.0);
        var b = vec4(0.0);
        if (d < D && of_scores) {
            a = vec4(q[t.x], q[t.y], q[t.z], q[t.w]);
            b = vec4(k[s.x], k[s.y], k[s.z], k[s.w]);
        } else if (d < D) {
            a = vec4(d_o[t.x], d_o[t.y], d_o[t.z], d_o[t.w]);
            b = vec4(v[s.x], v[s.y], v[s.z], v[s.w]);
        }
        blocks[e % 32u * BLOCK_ROW + e / 32u] = a;
        blocks[BLOCK + e % 32u * BLOCK_ROW + e / 32u] = b;
    }
    workgroupBarrier();
}

@compute @workgroup_size(64)
fn attention_query_vjp(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
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

    var row: array<vec2<f32>, 4>;
    for (var i = 0u; i < 4u; i++) {
        row[i] = statistics[head * run.x + min(t + i, run.x - 1u)];
    }
    var sum: array<vec4<f32>, 4u * CHUNKS>;
    for (var s0 = 0u; s0 < end; s0 += 32u) {
        var score: array<vec4<f32>, 4>;
        var slope: array<vec4<f32>, 4>;
        for (var d0 = 0u; d0 < D; d0 += 32u) {
            stage(true, q_base, t0, k_base, s0, d0, index);
            block_product(&score, 0u, index);
            stage(false, q_base, t0, k_base, s0, d0, index);
            block_product(&slope, 0u, index);
        }
        let s = vec4(s0 + x) + vec4(0u, 1u, 2u, 3u);
        for (var i = 0u; i < 4u; i++) {
            let p = select(vec4(0.0), exp(min(SCALE * score[i] - row[i].x, vec4(0.0))), s < vec4(keys_seen(t + i, length)));
            var d_p = slope[i];
            if (THRESHOLD > 0u) {
                d_p *= kept(philox(vec4(s.x / 4u, t + i, head, mask[1]), vec2(mask[0], run.z)));
            }
            slope[i] = SCALE * p * (d_p - row[i].y);
        }
        block_keep(slope, index);
        for (var c = 0u; c < CHUNKS; c++) {
            workgroupBarrier();
            for (var e = index; e < 256u; e += 64u) {
                let row = k_base + min(s0 + e / 8u, run.y - 1u) * stride;
                let at = row + min(vec4(c0 + 32u * c + 4u * (e % 8u)) + vec4(0u, 1u, 2u, 3u), vec4(D - 1u));
                blocks[BLOCK + e / 8u * BLOCK_ROW + e % 8u] = vec4(k[at.x], k[at.y], k[at.z], k[at.w]);
            }
            workgroupBarrier();
            var part = array(sum[4u * c], sum[4u * c + 1u], sum[4u * c + 2u], sum[4u * c + 3u]);
            block_product(&part, 2u, index);
            for (var i = 0u; i < 4u; i++) {
                sum[4u * c + i] = part[i];
            }
        }
    }
    for (var i = 0u; i < 4u; i++) {
        for (var c = 0u; c < CHUNKS; c++) {
            for (var j = 0u; j < 4u; j++) {
                let column = c0 + 32u * c + x + j;
                if (t + i < run.x && column < D) {
                    dq[q_base + (t + i) * stride + column] = sum[4u * c + i][j];
                }
            }
        }
    }
}
