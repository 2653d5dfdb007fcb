//! `plots/*.svg`: the charts as files, drawn without system fonts.

use super::data::{Chart, Series};
use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use rl_core::experiment::Outcome;

/// Okabe and Ito's palette, which readers with any colour vision tell apart.
const PALETTE: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(90, 90, 90),
];
const SIZE: (u32, u32) = (760, 430);
const FONT: &str = "sans-serif";

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A chart as SVG: the mean over seeds with its interval shaded.
pub(crate) fn lines(chart: &Chart) -> Result<String> {
    svg(SIZE, |area| {
        let all = |pick: fn(&Series) -> &Vec<f64>| chart.series.iter().flat_map(pick).copied();
        let x = range(all(|s| &s.x), 0.0);
        let y = range(all(|s| &s.lo).chain(all(|s| &s.hi)), 0.06);
        let mut context = ChartBuilder::on(area)
            .caption(&chart.title, (FONT, 20))
            .margin(12)
            .margin_right(28)
            .x_label_area_size(42)
            .y_label_area_size(64)
            .build_cartesian_2d(x.0..x.1, y.0..y.1)?;
        context
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.12))
            .x_desc(&chart.x_label)
            .y_desc(&chart.y_label)
            .x_label_formatter(&|x| tick(*x))
            .y_label_formatter(&|y| tick(*y))
            .label_style((FONT, 13))
            .draw()?;
        for series in &chart.series {
            let colour = PALETTE[series.colour % PALETTE.len()];
            let up = series.x.iter().copied().zip(series.hi.iter().copied());
            let down = series.x.iter().copied().zip(series.lo.iter().copied()).rev();
            let band: Vec<(f64, f64)> = up.chain(down).collect();
            context.draw_series([Polygon::new(band, colour.mix(0.18))])?;
            let mean = series.x.iter().copied().zip(series.mean.iter().copied());
            context
                .draw_series(LineSeries::new(mean, colour.stroke_width(2)))?
                .label(&series.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        }
        context
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.2))
            .label_font((FONT, 13))
            .draw()?;
        Ok(())
    })
}

/// Results of one task and metric as horizontal bars with intervals and the seeds as dots.
pub(crate) fn bars(title: &str, rows: &[&Outcome]) -> Result<String> {
    svg((760, 96 + 40 * rows.len() as u32), |area| {
        let values = rows.iter().flat_map(|r| r.ci95.into_iter().chain(r.per_seed.iter().copied()));
        let x = range(values.chain([0.0]), 0.05);
        let count = rows.len() as f64;
        let mut context = ChartBuilder::on(area)
            .caption(title, (FONT, 20))
            .margin(12)
            .x_label_area_size(28)
            .y_label_area_size(190)
            .build_cartesian_2d(x.0..x.1, count..0.0)?;
        let name =
            |y: &f64| rows.get(*y as usize).filter(|_| y.fract() != 0.0).map_or("", |r| r.method.as_str());
        context
            .configure_mesh()
            .disable_y_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.12))
            .y_labels(0)
            .x_label_formatter(&|x| tick(*x))
            .label_style((FONT, 13))
            .draw()?;
        for (i, row) in rows.iter().enumerate() {
            let middle = i as f64 + 0.5;
            let colour = PALETTE[i % PALETTE.len()];
            let bar = [(0.0, middle - 0.3), (row.mean, middle + 0.3)];
            context.draw_series([Rectangle::new(bar, colour.mix(0.55).filled())])?;
            let interval = row.ci95.map(|x| (x, middle));
            context.draw_series([PathElement::new(interval, BLACK.stroke_width(2))])?;
            let dots = row.per_seed.iter().map(|&x| Circle::new((x, middle), 3, colour.filled()));
            context.draw_series(dots)?;
            let (_, y) = context.backend_coord(&(0.0, middle));
            let style = TextStyle::from((FONT, 13)).pos(plotters::style::text_anchor::Pos::new(
                plotters::style::text_anchor::HPos::Right,
                plotters::style::text_anchor::VPos::Center,
            ));
            area.draw(&Text::new(name(&middle).to_owned(), (192, y), style))?;
        }
        Ok(())
    })
}

fn svg(size: (u32, u32), draw: impl FnOnce(&Area<'_>) -> Result<(), DrawingAreaErrorKind>) -> Result<String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        let drawn = area.fill(&WHITE).and_then(|()| draw(&area)).and_then(|()| area.present());
        drawn.map_err(|e| anyhow!("drawing a plot: {e}"))?;
    }
    Ok(text)
}

type DrawingAreaErrorKind = plotters::drawing::DrawingAreaErrorKind<std::io::Error>;

/// The range of finite values with a margin; never empty.
pub(crate) fn range(values: impl Iterator<Item = f64>, margin: f64) -> (f64, f64) {
    let finite = values.filter(|v| v.is_finite());
    let (lo, hi) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| (lo.min(v), hi.max(v)));
    if lo > hi {
        return (0.0, 1.0);
    }
    if lo == hi {
        let room = lo.abs().max(1.0) * 0.1;
        return (lo - room, hi + room);
    }
    let room = (hi - lo) * margin;
    (if lo == 0.0 { 0.0 } else { lo - room }, if hi == 0.0 { 0.0 } else { hi + room })
}

/// A number on an axis: 20k, 1.5M, 0.01.
fn tick(x: f64) -> String {
    let short = |x: f64, unit: &str| format!("{}{unit}", (x * 1000.0).round() / 1000.0);
    match x.abs() {
        1e6.. => short(x / 1e6, "M"),
        1e4.. => short(x / 1e3, "k"),
        0.0 => "0".into(),
        ..1e-3 => format!("{x:.1e}"),
        _ => short(x, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_never_empty() {
        assert_eq!(range([].into_iter(), 0.1), (0.0, 1.0));
        assert_eq!(range([f64::NAN, 2.0].into_iter(), 0.1), (1.8, 2.2));
        assert_eq!(range([0.0, 10.0].into_iter(), 0.1), (0.0, 11.0));
    }

    #[test]
    fn ticks_are_short() {
        assert_eq!([0.0, 20_000.0, 1.5e6, -0.25, 1e-5].map(tick), ["0", "20k", "1.5M", "-0.25", "1.0e-5"]);
    }
}
