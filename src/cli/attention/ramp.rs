//! Weights as colours.
//!
//! The level of a weight w is 20 sqrt(w), rounded: spread over 40 tokens a weight is 0.025, which a linear scale would
//! not tell from nothing. Lightness goes in equal steps of OKLCH (Ottosson 2020) from the ground of each theme to its far
//! end, so that more is always further from the ground, in print and to the colour-blind too.

/// Steps of the scale.
pub const LEVELS: usize = 20;

/// On a light ground: nothing to all.
pub const LIGHT: [&str; LEVELS + 1] = [
    "#f0f6f9", "#dfecf3", "#cbe3f0", "#b8d9ee", "#a5cfec", "#92c4ec", "#81b9eb", "#71adea", "#64a1e8", "#5995e5",
    "#5187e1", "#4d7adb", "#4a6dd4", "#485fca", "#4753bf", "#4647b1", "#443ba2", "#413191", "#3d297e", "#37226b",
    "#301c57",
];

/// On a dark ground: nothing to all.
pub const DARK: [&str; LEVELS + 1] = [
    "#1e1e29", "#202542", "#1d2e5a", "#0a3870", "#024674", "#045277", "#015f7c", "#066b81", "#067886", "#04858a",
    "#04928c", "#0b9f8c", "#08ad89", "#0abb80", "#3ec772", "#75ce6f", "#9cd471", "#bbd97b", "#d6e08c", "#ece7a1",
    "#fdefba",
];

/// The level of a weight, 0 to 20.
pub fn level(weight: f32) -> usize {
    (weight.clamp(0.0, 1.0).sqrt() * LEVELS as f32).round() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance (WCAG).
    fn luminance(colour: &str) -> f64 {
        let channel = |at| {
            let v = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).expect("two digits")) / 255.0;
            if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }

    #[test]
    fn more_is_further_from_the_ground() {
        assert!(LIGHT.windows(2).all(|pair| luminance(pair[0]) > luminance(pair[1])));
        assert!(DARK.windows(2).all(|pair| luminance(pair[0]) < luminance(pair[1])));
        assert_eq!([0.0, 0.0006, 0.0007, 0.25, 1.0, 1.0001].map(level), [0, 0, 1, 10, 20, 20]);
    }
}
