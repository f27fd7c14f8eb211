// The activation of an epilogue, chosen when the plan is made: 0 none, 1 ReLU, 2 tanh, 3 sigmoid.

override ACTIVATION: u32 = 0u;

fn activate(x: f32) -> f32 {
    if (ACTIVATION == 1u) {
        return select(x, 0.0, x < 0.0);
    }
    if (ACTIVATION == 2u) {
        return 1.0 - 2.0 / (exp(2.0 * clamp(x, -9.5, 9.5)) + 1.0);
    }
    if (ACTIVATION == 3u) {
        return 1.0 / (1.0 + exp(-max(x, -80.0)));
    }
    return x;
}
