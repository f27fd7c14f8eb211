// y[g, c] = sum of x[r, c] over the rows r of block g
// One workgroup per 32 columns of a block, eight threads a column: thread t adds rows t, t + 8 and so on in order, then the
// first adds the eight sums in order.
import package::lib::grid::{workgroup_index};

@group(0) @binding(0) var<storage, read> x: array<f32>; // (rows, C)
@group(0) @binding(1) var<storage, read_write> y: array<f32>; // (G, C)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // rows, C, rows of a block, G

var<workgroup> parts: array<f32, 256>;

@compute @workgroup_size(256)
fn column_sum(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
              @builtin(local_invocation_index) lane: u32) {
    let across = (run.y + 31u) / 32u;
    let number = workgroup_index(group, groups);
    let block = number / across;
    let c = number % across * 32u + lane % 32u;
    let live = c < run.y && block < run.w;
    let first = block * run.z;
    let end = select(0u, min(first + run.z, run.x), live);
    var sum = 0.0;
    for (var r = first + lane / 32u; r < end; r += 8u) {
        sum += x[r * run.y + c];
    }
    parts[lane] = sum;
    workgroupBarrier();
    if (live && lane < 32u) {
        for (var t = 1u; t < 8u; t++) {
            sum += parts[32u * t + lane];
        }
        y[block * run.y + c] = sum;
    }
}
