//! The growth curves, drawn for the documentation.

use std::{fs, path::Path};

use anyhow::{Context, anyhow};
use plotters::prelude::*;

use super::database::Engine;

/// Where the documentation is.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/performance");

/// Colours that differ for all eyes, one for each size of bodies.
const COLOURS: [RGBColor; 3] = [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115)];

pub(crate) struct Curve {
    pub(crate) engine: Engine,
    /// `export` or `erasure`.
    pub(crate) call: &'static str,
    pub(crate) label: String,
    /// Messages of the user, and microseconds for each of them.
    pub(crate) points: Vec<(u32, f64)>,
}

/// One drawing for each engine and call. Returns their names.
pub(crate) fn draw(curves: &[Curve]) -> anyhow::Result<Vec<String>> {
    fs::create_dir_all(FOLDER)?;
    let mut names = Vec::new();
    for engine in [Engine::Sqlite, Engine::Postgres] {
        for call in ["export", "erasure"] {
            let some: Vec<&Curve> = curves.iter().filter(|curve| curve.engine == engine && curve.call == call).collect();
            if some.is_empty() {
                continue;
            }
            let name = format!("{call}-{}.svg", engine.to_string().to_lowercase());
            let title = format!("{call}, {engine}: time per message");
            draw_one(&Path::new(FOLDER).join(&name), &title, &some).map_err(|error| anyhow!("{name} cannot be drawn: {error}"))?;
            names.push(name);
        }
    }
    Ok(names)
}

fn draw_one(file: &Path, title: &str, curves: &[&Curve]) -> anyhow::Result<()> {
    let points = || curves.iter().flat_map(|curve| curve.points.iter().copied());
    let sizes = points().map(|(size, _)| size).min().zip(points().map(|(size, _)| size).max()).context("no points")?;
    let (least, most) = points().fold((f64::INFINITY, 0.0_f64), |(least, most), (_, time)| (least.min(time), most.max(time)));
    // The legend is above the curves.

    let drawing = SVGBackend::new(file, (760, 460)).into_drawing_area();
    drawing.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&drawing)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d((sizes.0..sizes.1).log_scale(), (least / 1.5..most * 6.0).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("messages of the user")
        .y_desc("µs per message")
        .y_label_formatter(&|time| format!("{time}"))
        .max_light_lines(0)
        .draw()?;
    for (nth, curve) in curves.iter().enumerate() {
        let ours = curve.label.starts_with("ours");
        // Ours and the reference of one size of bodies follow each other.
        let style = ShapeStyle { color: COLOURS[nth / 2 % COLOURS.len()].to_rgba(), filled: true, stroke_width: if ours { 3 } else { 1 } };
        let line = LineSeries::new(curve.points.iter().copied(), style).point_size(if ours { 4 } else { 2 });
        chart.draw_series(line)?.label(curve.label.clone()).legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 20, y)], style));
    }
    chart
        .configure_series_labels()
        .border_style(BLACK.mix(0.3))
        .background_style(WHITE.mix(0.8))
        .position(SeriesLabelPosition::UpperRight)
        .draw()?;
    Ok(drawing.present()?)
}
