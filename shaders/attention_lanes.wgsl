// o = dropout(softmax(SCALE q kT)) v per head, lse = log of the sum of exp(SCALE q kT) over the keys that a row sees
// One subgroup of 8 lanes per 16 queries of a head; keys pass in tiles of 32, whose scores and weights stay in registers,
// like 128 columns of o. The maximum and the sum of each row run along (Milakov and Gimelshein 2018, Dao 2023). For
// software adapters, on which a load costs as much as many multiply-adds. D is a multiple of 4.
import package::lib::matrices::{matrix_base};
import package::lib::tile::{tile_product, tile_steps};
import package::lib::mask::{THRESHOLD, keys_seen, kept_bits, kept_row, mask_lengths};

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

// sum += weights v in the lane's four columns from `column` on.
fn add_values(sum: ptr<function, array<vec4<f32>, 16>>, weights: ptr<function, array<vec4<f32>, 16>>, k_base: u32, s0: u32,
              column: u32) {
    let stride = HEADS * D / 4u;
    var b: array<mat4x4<f32>, 8>;
    for (var l = 0u; l < 8u; l++) {
        let row = min(vec4(s0 + 4u * l) + vec4(0u, 1u, 2u, 3u), vec4(run.y - 1u)) * stride
            + k_base + min(column, D / 4u - 1u);
        b[l] = mat4x4(v[row.x], v[row.y], v[row.z], v[row.w]);
    }
    tile_product(sum, weights, &b);
}

fn shrink_rows(sum: ptr<function, array<vec4<f32>, 16>>, by: ptr<function, array<f32, 16>>) {
    for (var i = 0u; i < 16u; i++) {
        (*sum)[i] *= (*by)[i];
    }
}

fn write_rows(sum: ptr<function, array<vec4<f32>, 16>>, total: ptr<function, array<f32, 16>>, length: u32, q_base: u32,
              t0: u32, column: u32) {
    for (var i = 0u; i < 16u; i++) {
        if (t0 + i < run.x && column < D / 4u) {
            o[q_base + (t0 + i) * (HEADS * D / 4u) + column] =
                select(vec4(0.0), (*sum)[i] / (*total)[i], keys_seen(t0 + i, length) > 0u);
        }
    }
}

@compute @workgroup_size(8)
fn attention_lanes(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
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

    var top: array<f32, 16>;
    var total: array<f32, 16>; // this lane's part of the row's sum
    for (var i = 0u; i < 16u; i++) {
        top[i] = -3.4e38;
        total[i] = 0.0;
    }
    // Columns 0 to 31 of the slice of o, 32 to 63, 64 to 95, 96 to 127; what D leaves out is never used.
    var o0: array<vec4<f32>, 16>;
    var o1: array<vec4<f32>, 16>;
    var o2: array<vec4<f32>, 16>;
    var o3: array<vec4<f32>, 16>;
    for (var s0 = 0u; s0 < end; s0 += 32u) {
        let s = s0 + 4u * lane;
        let row = k_base + min(vec4(s) + vec4(0u, 1u, 2u, 3u), vec4(run.y - 1u)) * stride;
        var w: array<vec4<f32>, 16>; // scores, then weights
        for (var d = 0u; d < D / 4u; d++) {
            tile_steps(&w, q[low + d], q[high + d],
                       transpose(mat4x4(k[row.x + d], k[row.y + d], k[row.z + d], k[row.w + d])));
        }
        for (var i = 0u; i < 16u; i++) {
            let sees = vec4(s) + vec4(0u, 1u, 2u, 3u) < vec4(keys_seen(t0 + i, length));
            w[i] = select(vec4(-3.4e38), SCALE * w[i], sees);
        }
        var shrink: array<f32, 16>;
        for (var i = 0u; i < 16u; i++) {
            let now = max(top[i], subgroupMax(max(max(w[i].x, w[i].y), max(w[i].z, w[i].w))));
            shrink[i] = exp(top[i] - now);
            top[i] = now;
        }
        for (var i = 0u; i < 16u; i++) {
            let sees = vec4(s) + vec4(0u, 1u, 2u, 3u) < vec4(keys_seen(t0 + i, length));
            w[i] = select(vec4(0.0), exp(w[i] - top[i]), sees);
            total[i] = total[i] * shrink[i] + ((w[i].x + w[i].y) + (w[i].z + w[i].w));
        }
        if (THRESHOLD > 0u) {
            let bits = kept_bits(t0, s, head, mask[1], vec2(mask[0], run.z));
            for (var i = 0u; i < 16u; i++) {
                w[i] *= kept_row(bits, i);
            }
        }
        shrink_rows(&o0, &shrink);
        add_values(&o0, &w, k_base, s0, c0);
        if (D > 32u) {
            shrink_rows(&o1, &shrink);
            add_values(&o1, &w, k_base, s0, c0 + 8u);
        }
        if (D > 64u) {
            shrink_rows(&o2, &shrink);
            add_values(&o2, &w, k_base, s0, c0 + 16u);
        }
        if (D > 96u) {
            shrink_rows(&o3, &shrink);
            add_values(&o3, &w, k_base, s0, c0 + 24u);
        }
    }
    for (var i = 0u; i < 16u; i++) {
        total[i] = subgroupAdd(total[i]);
    }
    write_rows(&o0, &total, length, q_base, t0, c0);
    if (D > 32u) {
        write_rows(&o1, &total, length, q_base, t0, c0 + 8u);
    }
    if (D > 64u) {
        write_rows(&o2, &total, length, q_base, t0, c0 + 16u);
    }
    if (D > 96u) {
        write_rows(&o3, &total, length, q_base, t0, c0 + 24u);
    }
    for (var i = 0u; i < 16u; i++) {
        if (t0 + i < run.x && c0 == 0u) {
            lse[head * run.x + t0 + i] = select(0.0, top[i] + log(total[i]), keys_seen(t0 + i, length) > 0u);
        }
    }
}
