//! The loss curve as SVG.

use plotters::prelude::*;

/// One curve: its name and its points (step, value).
pub struct Curve<'a> {
    /// What the legend says.
    pub name: &'a str,
    /// Points in order.
    pub points: &'a [(f64, f64)],
}

/// An SVG picture of curves over steps; nothing when there are no points to draw.
pub fn curves(title: &str, curves: &[Curve]) -> Option<String> {
    let points = || curves.iter().flat_map(|c| c.points.iter().copied()).filter(drawable);
    let right = points().map(|p| p.0).reduce(f64::max)?;
    let top = points().map(|p| p.1).reduce(f64::max)?;
    let bottom = points().map(|p| p.1).reduce(f64::min)?.min(0.0);
    let mut svg = String::new();
    draw(&mut svg, title, curves, right, bottom..top * 1.05 + 1e-6).ok()?;
    Some(svg)
}

/// What there is a place for on a chart: metrics of a damaged file may be anything.
fn drawable(point: &(f64, f64)) -> bool {
    point.1.abs() < 1e100
}

fn draw(
    svg: &mut String,
    title: &str,
    curves: &[Curve],
    right: f64,
    y: std::ops::Range<f64>,
) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(svg, (800, 450)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..right.max(1.0), y)?;
    chart.configure_mesh().x_desc("step").y_desc("nats per token").light_line_style(WHITE).draw()?;
    let colours = [RGBColor(31, 119, 180), RGBColor(214, 88, 39), RGBColor(44, 140, 60)];
    for (curve, colour) in curves.iter().zip(colours) {
        let line = LineSeries::new(curve.points.iter().copied().filter(drawable), colour.stroke_width(2));
        let legend = move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2));
        chart.draw_series(line)?.label(curve.name).legend(legend);
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    root.present()?;
    Ok(())
}
