//! Heat maps as one SVG: a section for each attention, in it a row of maps for each layer and a column for each head.

use super::labels::{columns, escaped, short};
use super::ramp::{DARK, LEVELS, LIGHT, level};
use super::shown::{Line, Shown};
use seqloom::attention::Kind;
use std::collections::HashSet;
use std::fmt::Write;

/// Pixels of a cell's side.
const CELL: usize = 14;
/// Between maps.
const GAP: usize = 30;
/// Around the picture.
const MARGIN: usize = 24;
/// Height of a heading.
const HEADING: usize = 46;
/// Height of a map's title.
const TITLE: usize = 18;
/// Sections stand side by side up to this width.
const WIDEST: usize = 1400;

/// The picture of some lines, one below the other.
pub fn picture(lines: &[Line]) -> String {
    let mut body = String::new();
    let (mut width, mut y) = (500, MARGIN + 40);
    for line in lines {
        if lines.len() > 1 || line.dropped > 0 {
            let _ = writeln!(body, r#"<text class="l" x="{MARGIN}" y="{}">{}</text>"#, y + 18, line.name());
            y += HEADING;
        }
        define(&mut body, line);
        let (mut x, mut bottom) = (MARGIN, y);
        for section in line.maps.chunk_by(|a, b| a.kind == b.kind) {
            let layers: Vec<&[Shown]> = section.chunk_by(|a, b| a.layer == b.layer).collect();
            let size = Size::of(line, &section[0]);
            let right = layers[0].len() * (size.width + GAP) + size.overhang;
            if x > MARGIN && x + right > WIDEST {
                (x, y) = (MARGIN, bottom + GAP);
            }
            let [title, who] = line.heading(section[0].kind);
            let _ = writeln!(body, r#"<text class="h" x="{x}" y="{}">{title}</text>"#, y + 14);
            let given = if line.is_one_text() { "; what was given is grey" } else { "" };
            let _ = writeln!(body, r#"<text class="f" x="{x}" y="{}">{who}{given}</text>"#, y + 31);
            for (row, layer) in layers.iter().enumerate() {
                for (column, map) in layer.iter().enumerate() {
                    let at = (x + column * (size.width + GAP), y + HEADING + row * (size.height + GAP));
                    draw(&mut body, line, map, at, &size);
                }
            }
            // A map of few tokens is narrower than its heading.
            let right = right.max(title.len() * 9 + GAP);
            bottom = bottom.max(y + HEADING + layers.len() * (size.height + GAP));
            x += right + GAP;
            width = width.max(x - GAP - GAP + MARGIN);
        }
        y = bottom + GAP;
    }
    let height = y - GAP;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\">\n<title>Attention weights</title>\n<style>{}</style>\n\
         <rect class=\"g\" width=\"{width}\" height=\"{height}\"/>\n{}{body}</svg>\n",
        style(),
        legend()
    )
}

/// Pixels that a map takes with its labels.
struct Size {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
    /// How far the slanted label of the last column reaches past it.
    overhang: usize,
}

impl Size {
    fn of(line: &Line, map: &Shown) -> Size {
        let (rows, keys) = line.sides(map.kind);
        let widest = |tokens: &[String]| tokens.iter().map(|t| columns(&short(t)) * 13 / 2).max().unwrap_or(0);
        let (left, top) = (widest(rows) + 8, TITLE + widest(keys) * 87 / 100 + 14);
        // The title of a map of few tokens is wider than its cells.
        let (width, height) = (left + (keys.len() * CELL).max(map.title().len() * 7), top + rows.len() * CELL);
        Size { left, top, width, height, overhang: widest(keys) / 2 }
    }
}

/// Labels and grids of a line, which its maps share.
fn define(to: &mut String, line: &Line) {
    to.push_str("<defs>\n");
    let mut defined = HashSet::new();
    for map in &line.maps {
        let kind = map.kind.name();
        if !defined.insert(kind) {
            continue;
        }
        let (rows, keys) = line.sides(map.kind);
        let given = if line.is_one_text() { line.given } else { 0 };
        let faint = |i: usize| if i < given { " f" } else { "" };
        let _ = write!(to, r#"<g id="{kind}-{}">"#, line.line);
        for (r, token) in rows.iter().enumerate() {
            let _ = write!(to, r#"<text class="r{}" x="-5" y="{}">{}</text>"#, faint(r), r * CELL + 11, label(token));
        }
        for (c, token) in keys.iter().enumerate() {
            let x = c * CELL + 9;
            let (faint, label) = (faint(c), label(token));
            let _ = write!(to, r#"<text transform="translate({x} -5)rotate(-60)" class="k{faint}">{label}</text>"#);
        }
        let _ = write!(to, r#"<path class="w0" transform="scale({CELL})translate(0 .5)" d=""#);
        for r in 0..rows.len() {
            // What a token may not see stays empty.
            let seen = if map.kind == Kind::Decoder { r + 1 } else { keys.len() };
            let _ = write!(to, "M0 {r}h{seen}");
        }
        to.push_str("\"/></g>\n");
    }
    to.push_str("</defs>\n");
}

/// A token with its leading spaces in a fainter colour.
fn label(token: &str) -> String {
    let label = short(token);
    let rest = label.trim_start_matches('·');
    match label.len() - rest.len() {
        0 => escaped(rest),
        spaces => format!("<tspan>{}</tspan>{}", &label[..spaces], escaped(rest)),
    }
}

/// A map: its title, its labels, and a path for each colour, in which cells are strokes of width 1.
fn draw(to: &mut String, line: &Line, map: &Shown, (x, y): (usize, usize), size: &Size) {
    let (x, y) = (x + size.left, y + size.top);
    let _ = writeln!(
        to,
        r##"<g transform="translate({x} {y})"><text class="t" y="{}">{}</text><use href="#{}-{}"/><g transform="scale({CELL})translate(0 .5)">"##,
        TITLE as isize - 6 - size.top as isize,
        map.title(),
        map.kind.name(),
        line.line
    );
    let mut strokes = vec![String::new(); LEVELS + 1];
    for (r, row) in map.weights.iter().enumerate() {
        let mut c = 0;
        for run in row.chunk_by(|a, b| level(*a) == level(*b)) {
            let _ = write!(strokes[level(run[0])], "M{c} {r}h{}", run.len());
            c += run.len();
        }
    }
    for (level, stroke) in strokes.iter().enumerate().skip(1).filter(|(_, s)| !s.is_empty()) {
        let _ = writeln!(to, r#"<path class="w{level}" d="{stroke}"/>"#);
    }
    to.push_str("</g></g>\n");
}

/// The colours of weights from 0 to 1, in equal steps of the square root.
fn legend() -> String {
    let mut svg = format!(r#"<g transform="translate({MARGIN} {MARGIN})"><text y="10">weight</text>"#);
    for level in 0..=LEVELS {
        let _ = write!(
            svg,
            r#"<path class="w{level}" transform="translate({} 5)scale({CELL} 10)" d="M0 0h1"/>"#,
            50 + level * CELL
        );
    }
    for tick in [0.0, 0.02, 0.1, 0.25, 0.5, 0.75, 1.0] {
        let x = 50 + CELL / 2 + level(tick) * CELL;
        let _ = write!(svg, r#"<text class="n" x="{x}" y="22">{tick}</text>"#);
    }
    let x = 50 + (LEVELS + 2) * CELL;
    svg + &format!("<text x=\"{x}\" y=\"10\">each row sums to 1</text></g>\n")
}

/// Both themes: the light one where nobody asks.
fn style() -> String {
    let theme = |ground: &str, ink: &str, faint: &str, ramp: [&str; LEVELS + 1]| {
        let levels: String = ramp.iter().enumerate().map(|(i, c)| format!(".w{i}{{stroke:{c}}}")).collect();
        format!(".g{{fill:{ground}}}text{{fill:{ink}}}tspan,.f{{fill:{faint}}}{levels}")
    };
    format!(
        "text{{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}}.h{{font-size:15px;\
         font-weight:600}}.l{{font-size:18px;font-weight:600}}.t{{font-weight:600}}.r{{text-anchor:end}}.k{{font-size:11px}}.n{{font-size:10px;\
         text-anchor:middle}}path{{stroke-width:1;fill:none;shape-rendering:crispEdges}}{}\
         @media(prefers-color-scheme:dark){{{}}}",
        theme("#ffffff", "#1b1f24", "#7a828c", LIGHT),
        theme("#14161a", "#e4e7eb", "#8d959f", DARK)
    )
}
