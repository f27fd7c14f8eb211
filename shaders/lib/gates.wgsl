// What gates apply to their sums.

fn sigmoid_of(x: f32) -> f32 {
    return 1.0 / (1.0 + exp(-max(x, -80.0)));
}

fn tanh_of(x: f32) -> f32 {
    return 1.0 - 2.0 / (exp(2.0 * clamp(x, -9.5, 9.5)) + 1.0);
}

// The same of four sums.
fn sigmoids_of(x: vec4<f32>) -> vec4<f32> {
    return 1.0 / (1.0 + exp(-max(x, vec4(-80.0))));
}

fn tanhs_of(x: vec4<f32>) -> vec4<f32> {
    return 1.0 - 2.0 / (exp(2.0 * clamp(x, vec4(-9.5), vec4(9.5))) + 1.0);
}
