// log[slot] = (loss, nll, norm, go) of this step
// One thread.

@group(0) @binding(0) var<storage, read> loss: array<f32>; // (1)
@group(0) @binding(1) var<storage, read> nll: array<f32>; // (1)
@group(0) @binding(2) var<storage, read> step: array<u32>; // (16), see step.rs
@group(0) @binding(3) var<storage, read_write> log: array<f32>; // (slots, 4)
@group(1) @binding(0) var<uniform> run: vec4<u32>; // slots

@compute @workgroup_size(1)
fn record() {
    let at = 4u * (step[5] % run.x);
    log[at] = loss[0];
    log[at + 1u] = nll[0];
    log[at + 2u] = bitcast<f32>(step[8]);
    log[at + 3u] = f32(step[10]);
}
