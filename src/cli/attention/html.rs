//! One page that holds its data and its program, to be opened from a disk.

use super::ramp::{DARK, LIGHT};
use super::{Line, heading};
use serde_json::json;

const PAGE: &str = include_str!("page.html");
/// Weights are whole numbers of this part: a page is read by people, and half the size so.
const PARTS: f32 = 10_000.0;

/// The page of some lines.
pub fn page(lines: &[Line]) -> String {
    let line = |line: &Line| {
        let map = |map: &super::Shown| {
            let row = |row: &Vec<f32>| row.iter().map(|w| (w * PARTS).round() as u32).collect::<Vec<_>>();
            let parts: Vec<_> = map.weights.iter().map(row).collect();
            json!({ "kind": map.kind, "layer": map.layer, "head": map.head, "parts": parts })
        };
        let sides = |kind| line.sides(kind);
        let _ = sides;
        json!({ "line": line.line, "source": line.source, "target": line.target, "written": line.written,
            "maps": line.maps.iter().map(map).collect::<Vec<_>>() })
    };
    let _ = heading;
    let data =
        json!({ "parts": PARTS, "light": LIGHT, "dark": DARK, "lines": lines.iter().map(line).collect::<Vec<_>>() });
    // A token must not end the script that it stands in.
    PAGE.replacen("DATA", &data.to_string().replace('<', "\\u003c"), 1)
}
