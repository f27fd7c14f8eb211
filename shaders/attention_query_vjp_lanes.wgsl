// dq = SCALE dS k per head, dS = P (dropout(do vT) - delta), P = exp(min(SCALE q kT - lse, 0)) over the keys that a row sees
// One subgroup of 8 lanes per 16 queries of a head; keys pass in tiles of 32, and everything stays in registers. For
// software adapters, as attention_lanes. D is a multiple of 4.
import package::lib::matrices::{matrix_base};
import package::lib::tile::{tile_product, tile_steps};
import package::lib::mask::{THRESHOLD, keys_seen, kept_bits, kept_row, mask_lengths};

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

// sum += dS k in the lane's four columns from `column` on.
fn add_keys(sum: ptr<function, array<vec4<f32>, 16>>, d_s: ptr<function, array<vec4<f32>, 16>>, k_base: u32, s0: u32,
            column: u32) {
    let stride = HEADS * D / 4u;
    var b: array<mat4x4<f32>, 8>;
    for (var l = 0u; l < 8u; l++) {
        let row = min(vec4(s0 + 4u * l) + vec4(0u, 1u, 2u, 3u), vec4(run.y - 1u)) * stride
            + k_base + min(column, D / 4u - 1u);
        b[l] = mat4x4(k[row.x], k[row.y], k[row.z], k[row.w]);
    }
    tile_product(sum, d_s, &b);
}

fn write_rows(sum: ptr<function, array<vec4<f32>, 16>>, q_base: u32, t0: u32, column: u32) {
    for (var i = 0u; i < 16u; i++) {
        if (t0 + i < run.x && column < D / 4u) {
            dq[q_base + (t0 + i) * (HEADS * D / 4u) + column] = (*sum)[i];
        }
    }
}

@compute @workgroup_size(8)
fn attention_query_vjp_lanes(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let t0 = 16u * group.x;
    let head = group.z;
    let c0 = 32u * group.y + lane; // the lane's first four columns of four times 32
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
    // Columns 0 to 31 of the slice of dq, 32 to 63, 64 to 95, 96 to 127; what D leaves out is never used.
    var dq0: array<vec4<f32>, 16>;
    var dq1: array<vec4<f32>, 16>;
    var dq2: array<vec4<f32>, 16>;
    var dq3: array<vec4<f32>, 16>;
    for (var s0 = 0u; s0 < end; s0 += 32u) {
        let s = s0 + 4u * lane;
        let row = k_base + min(vec4(s) + vec4(0u, 1u, 2u, 3u), vec4(run.y - 1u)) * stride;
        var d_s: array<vec4<f32>, 16>; // dP, then dS
        for (var d = 0u; d < D / 4u; d++) {
            tile_steps(&d_s, d_o[low + d], d_o[high + d],
                       transpose(mat4x4(v[row.x + d], v[row.y + d], v[row.z + d], v[row.w + d])));
        }
        if (THRESHOLD > 0u) {
            let bits = kept_bits(t0, s, head, mask[1], vec2(mask[0], run.z));
            for (var i = 0u; i < 16u; i++) {
                d_s[i] *= kept_row(bits, i);
            }
        }
        var p: array<vec4<f32>, 16>; // scores, then weights
        for (var d = 0u; d < D / 4u; d++) {
            tile_steps(&p, q[low + d], q[high + d],
                       transpose(mat4x4(k[row.x + d], k[row.y + d], k[row.z + d], k[row.w + d])));
        }
        for (var i = 0u; i < 16u; i++) {
            let sees = vec4(s) + vec4(0u, 1u, 2u, 3u) < vec4(keys_seen(t0 + i, length));
            p[i] = select(vec4(0.0), exp(min(SCALE * p[i] - row_statistics[i].x, vec4(0.0))), sees);
        }
        for (var i = 0u; i < 16u; i++) {
            d_s[i] = SCALE * p[i] * (d_s[i] - row_statistics[i].y);
        }
        add_keys(&dq0, &d_s, k_base, s0, c0);
        if (D > 32u) {
            add_keys(&dq1, &d_s, k_base, s0, c0 + 8u);
        }
        if (D > 64u) {
            add_keys(&dq2, &d_s, k_base, s0, c0 + 16u);
        }
        if (D > 96u) {
            add_keys(&dq3, &d_s, k_base, s0, c0 + 24u);
        }
    }
    write_rows(&dq0, q_base, t0, c0);
    if (D > 32u) {
        write_rows(&dq1, q_base, t0, c0 + 8u);
    }
    if (D > 64u) {
        write_rows(&dq2, q_base, t0, c0 + 16u);
    }
    if (D > 96u) {
        write_rows(&dq3, q_base, t0, c0 + 24u);
    }
}
