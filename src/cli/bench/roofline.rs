//! The roofline as SVG: arithmetic for each byte against arithmetic for each second, a labelled point for each operation.

use super::limits::{Limit, Roofline};
use super::row::{Figures, Row};
use crate::cli::attention::labels::escaped;
use std::collections::HashSet;
use std::fmt::Write;

const WIDTH: f64 = 1180.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 74.0;
const PLOT: f64 = 620.0;
/// Pixels of a label's line, and of a character.
const LINE: f64 = 13.0;
const CHARACTER: f64 = 6.3;
/// Characters of a line of the notes.
const NOTE: usize = 170;
/// Radius of a labelled point, and of the others.
const LARGE: f64 = 4.0;
const SMALL: f64 = 2.2;

/// One row that has arithmetic to show.
struct Point<'a> {
    row: &'a Row,
    figures: Figures,
    /// FLOP for each byte.
    intensity: f64,
}

/// A rectangle: left, top, right, bottom.
type Area = [f64; 4];

/// The picture of these rows. The first of an operation is labelled, the others are small; what has no arithmetic, or is
/// too short for anything but its dispatch, is listed below.
pub fn picture(device: &str, rows: &[Row], roofline: &Roofline) -> String {
    let (points, [copies, dispatches]) = sort(rows, roofline);
    let scale = Scale::of(&points, roofline);
    let mut body = grid(&scale);
    body += &roofs(&scale, roofline);
    let mut labelled = HashSet::new();
    let (first, others): (Vec<&Point>, Vec<&Point>) =
        points.iter().partition(|p| labelled.insert(p.row.candidate.large.op.name()));
    for point in &others {
        body += &dot(point, &scale, SMALL, "s");
    }
    body += &labels(&first, &others, &scale, roofline);
    for point in &first {
        body += &dot(point, &scale, LARGE, "p");
    }
    let mut y = TOP + PLOT + 62.0;
    for (what, list) in [("Without arithmetic, share of the copy: ", copies), ("As short as a dispatch: ", dispatches)]
    {
        for line in wrapped(what, &list) {
            let _ = writeln!(body, r#"<text class="f" x="{LEFT}" y="{y}">{}</text>"#, escaped(&line));
            y += 17.0;
        }
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{y}\" viewBox=\"0 0 {WIDTH} {y}\" \
         role=\"img\">\n<title>Roofline</title>\n<style>{}</style>\n<rect class=\"g\" width=\"{WIDTH}\" height=\"{y}\"/>\n\
         <text class=\"h\" x=\"{LEFT}\" y=\"28\">Roofline of {}</text>\n\
         {}{body}</svg>\n",
        style(),
        escaped(device),
        legend()
    )
}

fn legend() -> String {
    let mut svg = String::new();
    let entries = [
        ("p FMA", "multiply-adds are the limit", 190.0),
        ("p copy", "copying is the limit", 148.0),
        ("p copy c", "the same, but a cache may hold the data", 280.0),
        ("s copy", "other cases and variants; below the roof: what is left to gain", 0.0),
    ];
    let mut x = LEFT + 5.0;
    for (class, what, width) in entries {
        let radius = if class.starts_with('p') { LARGE } else { SMALL };
        let _ = writeln!(svg, r#"<circle class="{class}" cx="{x}" cy="44" r="{radius}"/>"#);
        let _ = writeln!(svg, r#"<text class="f" x="{}" y="48">{what}</text>"#, x + 9.0);
        x += width;
    }
    svg
}

/// Points, and the shares of what has no place among them: without arithmetic, and limited by the dispatch.
fn sort<'a>(rows: &'a [Row], roofline: &Roofline) -> (Vec<Point<'a>>, [Vec<String>; 2]) {
    let (mut points, mut lists) = (vec![], [vec![], vec![]]);
    for row in rows {
        let Some(figures) = row.figures(roofline) else { continue };
        let short = figures.limit == Limit::Dispatch;
        if short || row.cost.flops == 0 {
            lists[short as usize].push(format!("{} {:.0} %", row.candidate.large.op.name(), 100.0 * figures.share));
        } else {
            points.push(Point { row, figures, intensity: row.cost.flops as f64 / row.cost.bytes as f64 });
        }
    }
    (points, lists)
}

fn wrapped(what: &str, list: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = vec![];
    for (i, item) in list.iter().enumerate() {
        let item = if i + 1 < list.len() { format!("{item}, ") } else { item.clone() };
        match lines.last_mut() {
            None => lines.push(format!("{what}{item}")),
            Some(line) if line.chars().count() + item.chars().count() <= NOTE => line.push_str(&item),
            Some(_) => lines.push(item),
        }
    }
    lines
}

/// From numbers to pixels, both logarithmic.
struct Scale {
    x: [f64; 2],
    y: [f64; 2],
}

impl Scale {
    /// Room for every point and for the corner of the roof.
    fn of(points: &[Point], roofline: &Roofline) -> Scale {
        let corner = (roofline.flops / roofline.bytes, roofline.flops);
        let places = points.iter().map(|p| (p.intensity, p.figures.flops)).chain([corner]);
        let mut scale = Scale { x: [f64::INFINITY, 0.0], y: [f64::INFINITY, 0.0] };
        for (x, y) in places {
            scale.x = [scale.x[0].min(x), scale.x[1].max(x)];
            scale.y = [scale.y[0].min(y), scale.y[1].max(y)];
        }
        // To the left of the first point there must be room for labels.
        scale.x = [scale.x[0] / 3.5, scale.x[1] * 2.0];
        scale.y = [scale.y[0] / 2.0, scale.y[1] * 1.8];
        scale
    }

    fn x(&self, value: f64) -> f64 {
        let [low, high] = self.x.map(f64::ln);
        LEFT + (value.ln() - low) / (high - low) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        let [low, high] = self.y.map(f64::ln);
        TOP + PLOT - (value.ln() - low) / (high - low) * PLOT
    }
}

/// Lines at 1, 2 and 5 of each decade, with their numbers.
fn ticks([low, high]: [f64; 2]) -> Vec<f64> {
    let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let all = decades.flat_map(|d| [1.0, 2.0, 5.0].map(|m| m * 10f64.powi(d)));
    all.filter(|t| (low..=high).contains(t)).collect()
}

fn grid(scale: &Scale) -> String {
    let mut svg = String::new();
    let (bottom, right) = (TOP + PLOT, WIDTH - RIGHT);
    let number =
        |value: f64| if value < 1.0 { format!("{}", (value * 1e6).round() / 1e6) } else { format!("{value:.0}") };
    for tick in ticks(scale.x) {
        let x = scale.x(tick);
        let _ = writeln!(svg, r#"<path class="l" d="M{x:.1} {TOP}V{bottom}"/>"#);
        let _ = writeln!(svg, r#"<text class="f m" x="{x:.1}" y="{}">{}</text>"#, bottom + 17.0, number(tick));
    }
    for tick in ticks(scale.y) {
        let y = scale.y(tick);
        let _ = writeln!(svg, r#"<path class="l" d="M{LEFT} {y:.1}H{right}"/>"#);
        let _ =
            writeln!(svg, r#"<text class="f e" x="{}" y="{:.1}">{}</text>"#, LEFT - 7.0, y + 4.0, number(tick / 1e9));
    }
    let middle = (LEFT + right) / 2.0;
    let _ = writeln!(
        svg,
        r#"<text class="m" x="{middle}" y="{}">FLOP for each byte read or written</text>"#,
        bottom + 37.0
    );
    let _ = writeln!(svg, r#"<text class="e" x="{}" y="{}">GFLOP/s</text>"#, LEFT - 7.0, TOP - 8.0);
    svg
}

fn roofs(scale: &Scale, roofline: &Roofline) -> String {
    let corner = roofline.flops / roofline.bytes;
    // Where the slope enters the picture: at its left side or at its bottom.
    let start = scale.x[0].max(scale.y[0] / roofline.bytes);
    let at = |x: f64| [scale.x(x), scale.y(roofline.roof(x))];
    let ([x0, y0], [x1, y1], right) = (at(start), at(corner), WIDTH - RIGHT);
    let mut svg = format!("<path class=\"r\" d=\"M{x0:.1} {y0:.1}L{x1:.1} {y1:.1}H{right}\"/>\n");
    let _ = writeln!(
        svg,
        r#"<text class="e" x="{}" y="{:.1}">multiply-adds {:.0} GFLOP/s</text>"#,
        right - 4.0,
        y1 - 7.0,
        roofline.flops / 1e9
    );
    let slope = ((y1 - y0) / (x1 - x0)).atan().to_degrees();
    let (x, y) = (x0 + 0.72 * (x1 - x0), y0 + 0.72 * (y1 - y0));
    let _ = writeln!(
        svg,
        r#"<text class="m" transform="translate({x:.1} {y:.1})rotate({slope:.1})" y="-7">copy {:.1} GB/s</text>"#,
        roofline.bytes / 1e9
    );
    svg
}

fn place(point: &Point, scale: &Scale) -> [f64; 2] {
    [scale.x(point.intensity), scale.y(point.figures.flops)]
}

fn dot(point: &Point, scale: &Scale, radius: f64, class: &str) -> String {
    let [x, y] = place(point, scale);
    let (f, words) = (&point.figures, point.row.candidate.words().join(" "));
    let cached = if f.cached { " c" } else { "" };
    format!(
        "<circle class=\"{class} {}{cached}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\"><title>{}: {:.3} ms, {:.0} % of {}</title>\
         </circle>\n",
        f.limit.name(),
        escaped(words.trim()),
        f.seconds * 1e3,
        f.share * 100.0,
        f.limit.name()
    )
}

/// A label for each point, as near to it as there is room, with a line where that is not beside it.
fn labels(points: &[&Point], others: &[&Point], scale: &Scale, roofline: &Roofline) -> String {
    let mut taken: Vec<Area> = points.iter().map(|p| around(place(p, scale), LARGE + 1.0)).collect();
    taken.extend(others.iter().map(|p| around(place(p, scale), SMALL)));
    // The roof's own labels, and the roof itself in pieces.
    let corner = roofline.flops / roofline.bytes;
    let [right, top] = [WIDTH - RIGHT, scale.y(roofline.flops)];
    taken.push([right - 190.0, top - 20.0, right, top - 3.0]);
    for step in 0..400 {
        let x = LEFT + (right - LEFT) * step as f64 / 400.0;
        let intensity = scale.x[0] * (scale.x[1] / scale.x[0]).powf(step as f64 / 400.0);
        let named = (0.6..0.85).contains(&(intensity / scale.x[0]).log(corner / scale.x[0]));
        let y = scale.y(roofline.roof(intensity));
        taken.push([x - 2.0, y - if named { 22.0 } else { 3.0 }, x + 2.0, y + 3.0]);
    }
    let mut svg = String::new();
    let mut order: Vec<&&Point> = points.iter().collect();
    order.sort_by(|a, b| place(a, scale)[1].total_cmp(&place(b, scale)[1]));
    for point in order {
        let name = point.row.candidate.large.op.name();
        let [x, y] = place(point, scale);
        let width = name.len() as f64 * CHARACTER;
        let free = |area: &Area| {
            let inside = area[0] > LEFT && area[2] < right && area[1] > TOP && area[3] < TOP + PLOT;
            inside && !taken.iter().any(|t| overlap(t, area))
        };
        // Beside the point first, then further and further away, all around.
        let rings = (0..40).flat_map(|ring| (0..24).map(move |turn| (8.0 + 6.0 * ring as f64, turn as f64 * 15.0)));
        let area = rings
            .map(|(distance, turn)| {
                let (sin, cos) = f64::sin_cos(f64::to_radians(turn));
                // The side of the label that faces the point is so far away from it.
                let (cx, cy) = (x + cos * (distance + width / 2.0), y + sin * (distance + LINE / 2.0));
                [cx - width / 2.0, cy - LINE / 2.0, cx + width / 2.0, cy + LINE / 2.0]
            })
            .find(free);
        let Some(area) = area else { continue };
        let [left, top, right, bottom] = area;
        let nearest = |[x, y]: [f64; 2]| (x.clamp(left, right), y.clamp(top, bottom));
        let away = |at: [f64; 2]| (nearest(at).0 - at[0]).hypot(nearest(at).1 - at[1]);
        let ((ex, ey), own) = (nearest([x, y]), away([x, y]));
        if own > 13.0 || points.iter().any(|p| place(p, scale) != [x, y] && away(place(p, scale)) < own + 3.0) {
            let _ = writeln!(svg, r#"<path class="t" d="M{x:.1} {y:.1}L{ex:.1} {ey:.1}"/>"#);
        }
        let _ = writeln!(svg, r#"<text class="n" x="{left:.1}" y="{:.1}">{name}</text>"#, bottom - 3.0);
        taken.push(area);
    }
    svg
}

fn around([x, y]: [f64; 2], reach: f64) -> Area {
    [x - reach, y - reach, x + reach, y + reach]
}

fn overlap(a: &Area, b: &Area) -> bool {
    a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3]
}

/// Both themes: the light one where nobody asks.
fn style() -> String {
    let theme = |ground: &str, ink: &str, faint: &str, line: &str, fma: &str, copy: &str| {
        format!(
            ".g{{fill:{ground}}}text{{fill:{ink}}}.f{{fill:{faint}}}.l{{stroke:{line}}}.t{{stroke:{faint}}}\
             .r{{stroke:{ink}}}.FMA{{fill:{fma};stroke:{fma}}}.copy{{fill:{copy};stroke:{copy}}}.c{{fill:{ground}}}"
        )
    };
    format!(
        "text{{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}}.h{{font-size:16px;\
         font-weight:600}}.n{{font-size:11px}}.m{{text-anchor:middle}}.e{{text-anchor:end}}path{{fill:none;stroke-width:1}}\
         .r{{stroke-width:2}}.t{{stroke-width:.7}}.s{{opacity:.6}}circle{{stroke-width:1.3}}{}@media(prefers-color-scheme:dark){{{}}}",
        theme("#ffffff", "#1b1f24", "#69707a", "#e6e8eb", "#c2410c", "#1d6fb8"),
        theme("#14161a", "#e4e7eb", "#9aa2ac", "#2a2e35", "#fb923c", "#60a5fa")
    )
}
