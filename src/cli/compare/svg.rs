//! Three panels: accuracy by distance, time by length, chain by length; below them the sentences.

use super::words::{BUCKETS, FIVE, grouped, sentences};
use super::{Entry, Results};
use crate::cli::attention::labels::escaped;
use std::fmt::Write;

const WIDTH: f64 = 1180.0;
const TOP: f64 = 112.0;
const PLOT: f64 = 300.0;
/// Left edges of the panels, and how wide their plots are.
const PANELS: [f64; 3] = [60.0, 460.0, 860.0];
const ACROSS: f64 = 290.0;
/// Left edges of the entries of the legend.
const LEGEND: [f64; 4] = [60.0, 310.0, 560.0, 890.0];
/// Pixels of a line below.
const LINE: f64 = 18.0;

/// An axis: where numbers lie between 0 and 1.
struct Axis {
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Axis {
    fn linear(low: f64, high: f64) -> Axis {
        Axis { low, high, logarithmic: false }
    }

    /// From the power of ten below all numbers to the one above.
    fn decades(numbers: impl Iterator<Item = f64>) -> Axis {
        let (low, high) = numbers.fold((f64::INFINITY, 0.0f64), |(low, high), n| (low.min(n), high.max(n)));
        let (low, high) = (low.max(1e-9).log10().floor(), high.max(1e-9).log10().ceil());
        Axis { low: 10f64.powf(low), high: 10f64.powf(high.max(low + 1.0)), logarithmic: true }
    }

    fn at(&self, n: f64) -> f64 {
        match self.logarithmic {
            true => (n / self.low).ln() / (self.high / self.low).ln(),
            false => (n - self.low) / (self.high - self.low),
        }
    }
}

/// One plot.
struct Panel<'a> {
    left: f64,
    title: &'a str,
    x: (&'a str, Axis, Vec<(f64, String)>),
    y: (&'a str, Axis, Vec<(f64, String)>),
}

impl Panel<'_> {
    fn x(&self, n: f64) -> f64 {
        self.left + ACROSS * self.x.1.at(n)
    }

    fn y(&self, n: f64) -> f64 {
        TOP + PLOT * (1.0 - self.y.1.at(n))
    }

    fn frame(&self) -> String {
        let mut svg = String::new();
        let (left, right, bottom) = (self.left, self.left + ACROSS, TOP + PLOT);
        let _ = writeln!(svg, r#"<text class="b" x="{left}" y="{}">{}</text>"#, TOP - 30.0, self.title);
        let _ = writeln!(svg, r#"<text class="f" x="{left}" y="{}">{}</text>"#, TOP - 12.0, self.y.0);
        for (n, label) in &self.y.2 {
            let y = self.y(*n);
            let _ = writeln!(svg, r#"<path class="l" d="M{left} {y:.1}H{right}"/>"#);
            let _ = writeln!(svg, r#"<text class="f e" x="{}" y="{:.1}">{label}</text>"#, left - 7.0, y + 4.0);
        }
        for (n, label) in &self.x.2 {
            let x = self.x(*n);
            let _ = writeln!(svg, r#"<path class="l" d="M{x:.1} {TOP}V{bottom}"/>"#);
            let _ = writeln!(svg, r#"<text class="f m" x="{x:.1}" y="{}">{label}</text>"#, bottom + 17.0);
        }
        let _ =
            writeln!(svg, r#"<text class="m" x="{}" y="{}">{}</text>"#, (left + right) / 2.0, bottom + 38.0, self.x.0);
        svg
    }

    /// A line with a dot at each point, which says what it is.
    fn curve(&self, number: usize, name: &str, points: &[(f64, f64, String)]) -> String {
        let place = |p: &(f64, f64, String)| format!("{:.1} {:.1}", self.x(p.0), self.y(p.1));
        let path: Vec<String> = points.iter().map(place).collect();
        let mut svg = format!("<path class=\"s{number}\" d=\"M{}\"/>\n", path.join("L"));
        for p in points {
            let _ = writeln!(
                svg,
                r#"<circle class="s{number}" cx="{:.1}" cy="{:.1}" r="3"><title>{}: {}</title></circle>"#,
                self.x(p.0),
                self.y(p.1),
                escaped(name),
                escaped(&p.2)
            );
        }
        svg
    }
}

/// The picture.
pub fn picture(r: &Results) -> String {
    let mut body = String::new();
    let distances = (0..=BUCKETS).map(|b| ((FIVE * b) as f64, (FIVE * b).to_string())).collect();
    let shares = (0..=5).map(|n| (20.0 * n as f64, format!("{} %", 20 * n))).collect();
    let right = Panel {
        left: PANELS[0],
        title: "Right answers, by distance",
        x: ("tokens from the verb back to its noun", Axis::linear(0.0, (FIVE * BUCKETS) as f64), distances),
        y: ("held-out sentences answered exactly", Axis::linear(0.0, 102.0), shares),
    };
    body += &right.frame();
    let baseline: Vec<(f64, f64)> = (0..BUCKETS)
        .map(|b| (right.x((FIVE * b) as f64 + 0.5 * FIVE as f64), right.y(r.last_noun.percent(b..b + 1))))
        .collect();
    let path: Vec<String> = baseline.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
    let _ = writeln!(body, r#"<path class="c" d="M{}"/>"#, path.join("L"));
    let y = baseline[BUCKETS - 1].1;
    let _ =
        writeln!(body, r#"<text class="f e" x="{}" y="{:.1}">the last noun</text>"#, PANELS[0] + ACROSS - 4.0, y - 6.0);
    let by_length = |left, title, unit, of: &dyn Fn(&super::AtLength) -> f64| {
        let y = Axis::decades(r.entries.iter().flat_map(|e| e.at.iter().map(of)));
        let first = y.low.log10().round() as i32;
        let powers = first..=y.high.log10().round() as i32;
        let number =
            |p: i32| if p < 0 { format!("{:.*}", -p as usize, 10f64.powi(p)) } else { grouped(10u64.pow(p as u32)) };
        let ticks = powers.map(|p| (10f64.powi(p), number(p))).collect();
        let lengths: Vec<f64> = r.entries.first().map_or(vec![], |e| e.at.iter().map(|a| a.length as f64).collect());
        let ends = (lengths.first().copied().unwrap_or(1.0), lengths.last().copied().unwrap_or(2.0));
        let x = Axis { low: ends.0 / 1.15, high: ends.1 * 1.15, logarithmic: true };
        let named = lengths.iter().map(|&n| (n, format!("{n}"))).collect();
        Panel { left, title, x: ("tokens of a sentence", x, named), y: (unit, y, ticks) }
    };
    let unit = format!("milliseconds, {} sentences", super::measure::ROWS);
    let seconds = by_length(PANELS[1], "Time of a training step here", &unit, &|a| 1e3 * a.seconds);
    let title = "Longest chain of dependent passes";
    let chain = by_length(PANELS[2], title, "steps behind each other, forward and back", &|a| a.chain as f64);
    body += &seconds.frame();
    body += &chain.frame();
    for (i, e) in r.entries.iter().enumerate() {
        let name = e.contestant.name;
        body += &right.curve(i, name, &shares_of(e));
        let at = |f: &dyn Fn(&super::AtLength) -> (f64, String)| -> Vec<(f64, f64, String)> {
            e.at.iter().map(|a| (a.length as f64, f(a).0, f(a).1)).collect()
        };
        let ms = |a: &super::AtLength| (1e3 * a.seconds, format!("{:.1} ms at {} tokens", 1e3 * a.seconds, a.length));
        let steps = |a: &super::AtLength| (a.chain as f64, format!("{} steps at {} tokens", a.chain, a.length));
        body += &seconds.curve(i, name, &at(&ms));
        body += &chain.curve(i, name, &at(&steps));
        let x = LEGEND[i];
        let _ = writeln!(
            body,
            r#"<path class="s{i}" d="M{x} 54h22"/><circle class="s{i}" cx="{}" cy="54" r="3"/>"#,
            x + 11.0
        );
        let count = grouped(e.contestant.parameters as u64);
        let _ = writeln!(body, r#"<text x="{}" y="58">{name}: {count} parameters</text>"#, x + 29.0);
    }
    let mut y = TOP + PLOT + 72.0;
    for line in sentences(r) {
        let _ = writeln!(body, r#"<text x="{}" y="{y}">{}</text>"#, PANELS[0], escaped(&line));
        y += LINE;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{y}\" viewBox=\"0 0 {WIDTH} {y}\" role=\"img\">\n\
         <title>Recurrent models and attention</title>\n<style>{}</style>\n<rect class=\"g\" width=\"{WIDTH}\" height=\"{y}\"/>\n\
         <text class=\"h\" x=\"{}\" y=\"30\">A verb that agrees with a distant noun: {} steps of {} sentences each</text>\n{body}</svg>\n",
        style(),
        PANELS[0],
        grouped(r.steps),
        r.rows
    )
}

/// Points in the middle of their buckets.
fn shares_of(e: &Entry) -> Vec<(f64, f64, String)> {
    let point = |b: usize| {
        let ((right, of), (from, to)) = (e.trained.accuracy.counts(b..b + 1), (FIVE * b + 1, FIVE * (b + 1)));
        let percent = e.trained.accuracy.percent(b..b + 1);
        ((from + to) as f64 / 2.0, percent, format!("{right} of {of} right, {from} to {to} tokens away"))
    };
    (0..BUCKETS).map(point).collect()
}

/// Both themes: the light one where nobody asks.
fn style() -> String {
    let theme = |ground: &str, ink: &str, faint: &str, line: &str, colours: [&str; 4]| {
        let curves: String =
            colours.iter().enumerate().map(|(i, c)| format!(".s{i}{{stroke:{c}}}circle.s{i}{{fill:{c}}}")).collect();
        format!(
            ".g{{fill:{ground}}}text{{fill:{ink}}}.f{{fill:{faint}}}.l{{stroke:{line}}}.c{{stroke:{faint}}}{curves}"
        )
    };
    format!(
        "text{{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}}.h{{font-size:16px;\
         font-weight:600}}.b{{font-weight:600;font-size:13px}}.m{{text-anchor:middle}}.e{{text-anchor:end}}\
         path{{fill:none;stroke-width:2}}path.s0{{stroke-width:4}}.l{{stroke-width:1}}.c{{stroke-width:1;stroke-dasharray:5 4}}{}\
         @media(prefers-color-scheme:dark){{{}}}",
        theme("#ffffff", "#1b1f24", "#69707a", "#e6e8eb", ["#8a5a00", "#c2410c", "#7c3aed", "#1d6fb8"]),
        theme("#14161a", "#e4e7eb", "#9aa2ac", "#2a2e35", ["#d9a441", "#fb923c", "#a78bfa", "#60a5fa"])
    )
}
