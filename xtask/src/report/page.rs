//! `report.html`: one page that needs no network and no other file.
//!
//! Tables and result bars are plain HTML and SVG; charts are drawn by `page.js` from data in the page, and stand
//! there as SVG for readers without JavaScript.

use super::across::Across;
use super::data::{Chart, Run, Series, paint, slug};
use super::plot;
use crate::table::{duration, number};
use anyhow::Result;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use rl_core::experiment::{Outcome, Role, Summary};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page about one run or several.
pub(crate) fn html(runs: &[Run]) -> Result<String> {
    let comparison = if runs.len() > 1 { compare(runs) } else { Vec::new() };
    let title = match runs {
        [run] => run.label.clone(),
        _ => format!("{} runs compared", runs.len()),
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (navigation(runs))
                main {
                    h1 { (title) }
                    @if runs.len() > 1 {
                        section #comparison {
                            h2 { "Comparison" }
                            (comparison_table(runs))
                            (differences(runs))
                            div.charts { @for chart in &comparison { (figure("comparison", chart)?) } }
                        }
                    }
                    @for run in runs { (section(run, runs.len() > 1)?) }
                }
                (data(runs, &comparison)?)
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    Ok(page.into_string())
}

fn navigation(runs: &[Run]) -> Markup {
    html! {
        nav {
            div.brand { "Quintet" }
            @if runs.len() > 1 { a href="#comparison" { "Comparison" } }
            @for run in runs {
                a href={ "#" (slug(&run.label)) } { (run.label) }
                div.parts {
                    @for (part, present) in parts(run) {
                        @if present { a href={ "#" (slug(&run.label)) "-" (slug(part)) } { (part) } }
                    }
                }
            }
            div.tools {
                label { input #seeds type="checkbox"; " show seeds" }
                button #theme type="button" { "Light or dark" }
            }
        }
    }
}

fn parts(run: &Run) -> [(&'static str, bool); 7] {
    [
        ("Across tasks", run.profile.is_some()),
        ("Results", run.summary.is_some()),
        ("Learning curves", !run.curves.is_empty()),
        ("Figures", !run.figures.is_empty()),
        ("Metrics", !run.metrics.is_empty()),
        ("Configuration", true),
        ("Provenance", !run.metas.is_empty()),
    ]
}

fn section(run: &Run, titled: bool) -> Result<Markup> {
    let id = slug(&run.label);
    let part = |name: &str| format!("{id}-{}", slug(name));
    Ok(html! {
        section id=(id) {
            @if titled { h2 { (run.label) } }
            (overview(run))
            @for note in &run.notes { p.note { (note) } }
            @if let (Some(across), Some(profile)) = (run.summary.as_ref().and_then(Across::of), &run.profile) {
                h3 id=(part("Across tasks")) { "Across tasks" }
                (across.tables(|task| format!("{id}-results-{task}")))
                div.charts { (figure(&id, profile)?) }
            }
            @if let Some(summary) = &run.summary {
                h3 id=(part("Results")) { "Results" }
                (results_table(summary))
                div.charts {
                    @for (name, title, rows) in super::groups(summary) {
                        (bars(&format!("{id}-results-{name}"), &title, &rows))
                    }
                }
            }
            @if !run.curves.is_empty() {
                h3 id=(part("Learning curves")) { "Learning curves" }
                p.hint { "Mean over seeds with its 95 % bootstrap interval. Drag to zoom, double-click to reset." }
                div.charts { @for chart in &run.curves { (figure(&id, chart)?) } }
            }
            @if !run.figures.is_empty() {
                h3 id=(part("Figures")) { "Figures" }
                div.charts { @for chart in &run.figures { (figure(&id, chart)?) } }
            }
            @if !run.metrics.is_empty() {
                details id=(part("Metrics")) {
                    summary { "Metrics (" (run.metrics.len()) ")" }
                    noscript { p.hint { "These charts are drawn by a script." } }
                    div.charts { @for chart in &run.metrics { (empty_figure(&id, chart, None)) } }
                }
            }
            details id=(part("Configuration")) {
                summary { "Configuration" }
                pre { code { (run.config) } }
            }
            @if !run.metas.is_empty() {
                details id=(part("Provenance")) { summary { "Provenance" } (provenance(run)) }
            }
        }
    })
}

fn overview(run: &Run) -> Markup {
    let complete = run.metas.iter().filter(|meta| meta.complete).count();
    html! {
        p.overview {
            @if let Some(summary) = &run.summary {
                span { b { (summary.preset) } " preset" }
                span { b { (summary.seeds.len()) } (if summary.seeds.len() == 1 { " seed" } else { " seeds" }) }
                span { b { (summary.threads) } " thread" @if summary.threads != 1 { "s" } " per seed" }
                span { b { (duration(summary.wall_seconds)) } }
            } @else {
                span { "not finished: " (complete) " of " (run.metas.len()) " seeds that began are complete" }
            }
        }
    }
}

fn results_table(summary: &Summary) -> Markup {
    html! {
        div.scroll {
            table.sortable {
                thead { tr {
                    @for name in ["task", "method", "role", "metric", "mean", "IQM", "95 % interval", "steps"] {
                        th scope="col" { (name) }
                    }
                } }
                tbody {
                    @for row in &summary.results {
                        tr class=(role(row.role)) {
                            td { (row.task) }
                            td { (row.method) }
                            td { (role(row.role)) }
                            td.metric { (row.metric) @if !row.unit.is_empty() { " [" (row.unit) "]" } }
                            td.number data-value=(row.mean) { (number(row.mean)) }
                            td.number data-value=(row.iqm) { (number(row.iqm)) }
                            td.number data-value=(row.ci95[0]) { (number(row.ci95[0])) " … " (number(row.ci95[1])) }
                            td.number data-value=(row.step) { (row.step) }
                        }
                    }
                }
            }
        }
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Method => "method",
        Role::Reference => "reference",
        Role::Ablation => "ablation",
    }
}

/// Horizontal bars: the mean from zero, its interval, the seeds as ticks.
fn bars(id: &str, title: &str, rows: &[&Outcome]) -> Markup {
    const WIDTH: f64 = 330.0;
    let values = rows.iter().flat_map(|r| r.ci95.into_iter().chain(r.per_seed.iter().copied()));
    let (from, to) = plot::range(values.chain([0.0]), 0.05);
    let at = |value: f64| WIDTH * (value - from) / (to - from);
    html! {
        figure.bars id=(id) {
            figcaption { (title) }
            @for row in rows {
                div.bar title={ "mean " (row.mean) ", IQM " (row.iqm) ", seeds " (format!("{:?}", row.per_seed)) } {
                    span.name { (row.method) }
                    svg viewBox="0 0 330 22" preserveAspectRatio="none" role="img"
                        aria-label={ (row.method) ": " (number(row.mean)) } {
                        // Braces, not semicolons: SVG knows no void elements.
                        rect class=(role(row.role)) x=(at(row.mean.min(0.0))) y="4" height="14"
                            width=((at(row.mean) - at(0.0)).abs()) {}
                        line.zero x1=(at(0.0)) x2=(at(0.0)) y1="0" y2="22" {}
                        line.interval x1=(at(row.ci95[0])) x2=(at(row.ci95[1])) y1="11" y2="11" {}
                        @for x in row.per_seed.iter().map(|&value| at(value)) {
                            line.seed x1=(x) x2=(x) y1="7" y2="15" {}
                        }
                    }
                    span.value { (number(row.mean)) }
                }
            }
        }
    }
}

fn figure(run: &str, chart: &Chart) -> Result<Markup> {
    Ok(empty_figure(run, chart, Some(plot::lines(chart)?)))
}

/// The place of a chart, with a drawing for readers without JavaScript.
fn empty_figure(run: &str, chart: &Chart, drawing: Option<String>) -> Markup {
    html! {
        figure.chart data-chart={ (run) "/" (chart.name) } {
            figcaption { (chart.title) }
            div.canvas { @if let Some(svg) = drawing { (PreEscaped(svg)) } }
        }
    }
}

fn provenance(run: &Run) -> Markup {
    html! {
        div.scroll { table {
            thead { tr {
                @for name in ["seed", "started (UTC)", "duration", "complete", "version", "revision", "processor", "threads"] {
                    th scope="col" { (name) }
                }
            } }
            tbody { @for meta in &run.metas { tr {
                td.number { (meta.seed) }
                td { (meta.started) }
                td.number { (duration(meta.wall_seconds)) }
                td { (if meta.complete { "yes" } else { "no" }) }
                td { (meta.version) }
                td { code { (meta.git_revision.as_deref().map_or("unknown", |r| &r[..r.len().min(12)])) } }
                td { (meta.cpu) }
                td.number { (meta.threads) }
            } } }
        } }
    }
}

/// Learning curves of tasks that several runs share, the runs' lines in one chart.
fn compare(runs: &[Run]) -> Vec<Chart> {
    let mut charts: Vec<(Chart, usize)> = Vec::new();
    for run in runs {
        for chart in &run.curves {
            let renamed = chart
                .series
                .iter()
                .map(|s| Series { name: format!("{} · {}", s.name, run.label), ..s.clone() });
            match charts.iter_mut().find(|(known, _)| known.name == chart.name) {
                Some((known, count)) => {
                    known.series.extend(renamed);
                    *count += 1;
                }
                None => charts.push((Chart { series: renamed.collect(), ..chart.clone() }, 1)),
            }
        }
    }
    let mut shared: Vec<Chart> =
        charts.into_iter().filter(|(_, count)| *count > 1).map(|(chart, _)| chart).collect();
    paint(&mut shared);
    shared
}

/// Means and intervals, a row per task, method and metric, a column per run.
fn comparison_table(runs: &[Run]) -> Markup {
    let mut rows: Vec<(&Outcome, Vec<Option<&Outcome>>)> = Vec::new();
    for (i, run) in runs.iter().enumerate() {
        for outcome in run.summary.iter().flat_map(|summary| &summary.results) {
            let key = |o: &Outcome| (o.task.clone(), o.method.clone(), o.metric.clone());
            let row = match rows.iter().position(|(first, _)| key(first) == key(outcome)) {
                Some(known) => known,
                None => {
                    rows.push((outcome, vec![None; runs.len()]));
                    rows.len() - 1
                }
            };
            rows[row].1[i] = Some(outcome);
        }
    }
    html! {
        div.scroll { table.sortable {
            thead { tr {
                @for name in ["task", "method", "metric"] { th scope="col" { (name) } }
                @for run in runs { th scope="col" { (run.label) } }
            } }
            tbody { @for (first, cells) in rows { tr class=(role(first.role)) {
                td { (first.task) }
                td { (first.method) }
                td.metric { (first.metric) @if !first.unit.is_empty() { " [" (first.unit) "]" } }
                @for cell in cells { (comparison_cell(cell)) }
            } } }
        } }
    }
}

/// The fields of the configurations that are not the same in all runs.
fn differences(runs: &[Run]) -> Markup {
    let fields: Vec<BTreeMap<String, String>> = runs.iter().map(|run| flat(&run.config)).collect();
    let names: BTreeSet<&String> = fields.iter().flat_map(BTreeMap::keys).collect();
    let differing =
        names.into_iter().filter(|name| fields.iter().any(|f| f.get(*name) != fields[0].get(*name)));
    html! {
        h3 { "What was configured differently" }
        div.scroll { table {
            thead { tr {
                th scope="col" { "field" }
                @for run in runs { th scope="col" { (run.label) } }
            } }
            tbody { @for name in differing { tr {
                td { (name) }
                @for field in &fields { td { (field.get(name).map_or("–", String::as_str)) } }
            } } }
        } }
    }
}

/// The fields of a TOML text by path.
fn flat(config: &str) -> BTreeMap<String, String> {
    fn walk(prefix: &str, value: toml::Value, out: &mut BTreeMap<String, String>) {
        match value {
            toml::Value::Table(table) => {
                table.into_iter().for_each(|(key, value)| walk(&format!("{prefix}.{key}"), value, out));
            }
            value => _ = out.insert(prefix.trim_start_matches('.').into(), value.to_string()),
        }
    }
    let mut out = BTreeMap::new();
    walk("", toml::Value::Table(config.parse().unwrap_or_default()), &mut out);
    out
}

fn comparison_cell(cell: Option<&Outcome>) -> Markup {
    html! {
        @match cell {
            Some(o) => td.number data-value=(o.mean) {
                (number(o.mean)) " " span.interval { "[" (number(o.ci95[0])) ", " (number(o.ci95[1])) "]" }
            },
            None => td.number { "–" },
        }
    }
}

#[derive(Serialize)]
struct Keyed<'a> {
    key: String,
    #[serde(flatten)]
    chart: &'a Chart,
}

/// The charts' numbers, for the script.
fn data(runs: &[Run], comparison: &[Chart]) -> Result<Markup> {
    fn charts(run: &Run) -> impl Iterator<Item = (String, &Chart)> {
        let all = run.curves.iter().chain(&run.figures).chain(&run.profile).chain(&run.metrics);
        all.map(|chart| (format!("{}/{}", slug(&run.label), chart.name), chart))
    }
    let compared = comparison.iter().map(|chart| (format!("comparison/{}", chart.name), chart));
    let keyed = compared.chain(runs.iter().flat_map(charts)).map(|(key, chart)| Keyed { key, chart });
    let text = serde_json::to_string(&keyed.collect::<Vec<_>>())?;
    // Inside a script element only the end tag could break out.
    Ok(html! { script #data type="application/json" { (PreEscaped(text.replace("</", "<\\/"))) } })
}
