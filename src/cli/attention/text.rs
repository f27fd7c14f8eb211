//! Heat maps of block characters, for a terminal.

use super::labels::{columns, short};
use super::ramp::{LEVELS, level};
use super::shown::{Line, Shown};
use std::fmt::Write;

/// A block for every five levels; nothing for less than 0.0006.
const BLOCKS: [char; 5] = [' ', '░', '▒', '▓', '█'];
/// Keys for which a cell is two columns wide.
const WIDE: usize = 30;

/// The maps of a line, each row with its largest weight, and what the blocks mean.
pub fn heat_maps(line: &Line) -> String {
    let maps: String = line.maps.iter().map(|map| heat_map(line, map)).collect();
    maps + "weights: ░ up to 0.07, ▒ to 0.27, ▓ to 0.6, █ to 1; each row sums to 1\n"
}

fn heat_map(line: &Line, map: &Shown) -> String {
    let (rows, keys) = line.sides(map.kind);
    let [rows, keys] = [rows, keys].map(|tokens| tokens.iter().map(|t| short(t)).collect::<Vec<_>>());
    let left = rows.iter().map(|r| columns(r)).max().unwrap_or(0);
    let wide = keys.len() <= WIDE || keys.iter().any(|k| k.chars().any(|c| columns(&c.to_string()) > 1));
    let cell = if wide { 2 } else { 1 };
    let [kind, who] = line.heading(map.kind);
    let mut text = format!("{}, {}, {}: {who}\n", line.name(), kind.to_lowercase(), map.title());
    // Names of columns, top down, their ends at the map.
    let height = keys.iter().map(|k| k.chars().count()).max().unwrap_or(0);
    for y in 0..height {
        let mut names = " ".repeat(left + 2);
        for key in &keys {
            let c = (y + key.chars().count()).checked_sub(height).and_then(|at| key.chars().nth(at)).unwrap_or(' ');
            names.push(c);
            names += &" ".repeat(cell - columns(&c.to_string()).min(cell));
        }
        let _ = writeln!(text, "{}", names.trim_end());
    }
    for (row, weights) in rows.iter().zip(&map.weights) {
        let cells: String = weights.iter().map(|&w| block(w).to_string().repeat(cell)).collect();
        let top = (0..weights.len()).max_by(|&a, &b| weights[a].total_cmp(&weights[b])).expect("every row has a key");
        let name = " ".repeat(left - columns(row)) + row;
        let _ = writeln!(text, "{name} │{cells}│ {:.2} {}", weights[top], keys[top]);
    }
    text + "\n"
}

fn block(weight: f32) -> char {
    BLOCKS[(level(weight) * (BLOCKS.len() - 1)).div_ceil(LEVELS)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_what_the_legend_says() {
        let weights = [0.0, 0.0005, 0.001, 0.07, 0.08, 0.27, 0.28, 0.6, 0.61, 1.0];
        assert_eq!(weights.map(block), [' ', ' ', '░', '░', '▒', '▒', '▓', '▓', '█', '█']);
    }
}
