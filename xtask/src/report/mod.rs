//! Plots and the HTML report of runs.

mod across;
mod data;
mod figure;
mod page;
mod plot;

pub use figure::{Figure, Line};

use crate::input::bad;
use crate::run::Results;
use anyhow::{Context as _, Result};
use data::{Chart, Run};
use rl_core::experiment::{Outcome, RunDir, SeedDir, Summary, write_atomically};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Flags of `report`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run directories to show and compare; the newest run of each exercise in `runs` if left out
    runs: Vec<PathBuf>,
    /// Where to write the page; beside the seeds of a single run, else beside the runs, if left out
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// `cargo xtask report`.
pub(crate) fn command(args: &Args) -> Result<ExitCode> {
    let paths = if args.runs.is_empty() { newest(Path::new("runs"))? } else { args.runs.clone() };
    let open = |path: &PathBuf| RunDir::open(path).map_err(|e| bad(e.to_string()));
    let runs = paths.iter().map(open).collect::<Result<Vec<_>>>()?;
    let page = match &args.out {
        Some(file) => file.clone(),
        None => common_folder(&paths).join("report.html"),
    };
    write(&runs, &page)?;
    println!("{}", page.display());
    Ok(ExitCode::SUCCESS)
}

/// The plots and the page of one run, beside its seeds.
pub(crate) fn write_beside(run: &RunDir) -> Result<PathBuf> {
    let data = Run::read(run)?;
    let folder = run.path().join("plots");
    data.curves.iter().chain(&data.figures).try_for_each(|chart| save(&folder, chart))?;
    if let Some(profile) = &data.profile {
        save(&folder, profile)?;
    }
    for (name, title, rows) in data.summary.iter().flat_map(groups) {
        save_svg(&folder, &format!("results-{name}"), &plot::bars(&title, &rows)?)?;
    }
    let page = run.path().join("report.html");
    write_atomically(&page, page::html(&[data])?.as_bytes())?;
    Ok(page)
}

/// The plots of one seed.
pub(crate) fn plot_seed(folder: &SeedDir, results: &Results) -> Result<()> {
    data::seed_charts(folder, results)?.iter().try_for_each(|chart| save(&folder.plots(), chart))
}

fn write(runs: &[RunDir], page: &Path) -> Result<()> {
    let data = runs.iter().map(Run::read).collect::<Result<Vec<_>>>()?;
    write_atomically(page, page::html(&data)?.as_bytes())?;
    Ok(())
}

fn save(folder: &Path, chart: &Chart) -> Result<()> {
    save_svg(folder, &chart.name, &plot::lines(chart)?)
}

fn save_svg(folder: &Path, name: &str, svg: &str) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    write_atomically(&folder.join(format!("{name}.svg")), svg.as_bytes())?;
    Ok(())
}

/// The results of a run by task and metric: identifier, title, rows.
fn groups(summary: &Summary) -> Vec<(String, String, Vec<&Outcome>)> {
    let mut groups: Vec<(String, String, Vec<&Outcome>)> = Vec::new();
    for row in &summary.results {
        let name = data::slug(&format!("{}-{}", row.task, row.metric));
        let unit = if row.unit.is_empty() { String::new() } else { format!(" [{}]", row.unit) };
        let better = if row.higher_is_better { "higher" } else { "lower" };
        match groups.iter_mut().find(|(known, ..)| *known == name) {
            Some((.., rows)) => rows.push(row),
            None => {
                let title = format!("{}: {}{unit}, {better} is better", row.task, row.metric);
                groups.push((name, title, vec![row]));
            }
        }
    }
    groups
}

/// The newest run of each exercise below `out`: folder names begin with the time.
fn newest(out: &Path) -> Result<Vec<PathBuf>> {
    let nothing =
        || bad(format!("there are no runs in `{}`; name run directories or run an exercise", out.display()));
    let mut runs = Vec::new();
    for exercise in fs::read_dir(out).map_err(|_| nothing())?.flatten() {
        let folders = fs::read_dir(exercise.path()).into_iter().flatten().flatten().map(|entry| entry.path());
        runs.extend(folders.filter(|path| RunDir::open(path).is_ok()).max());
    }
    if runs.is_empty() {
        return Err(nothing());
    }
    runs.sort();
    Ok(runs)
}

/// The deepest folder that holds all of the paths; a single path itself.
fn common_folder(paths: &[PathBuf]) -> PathBuf {
    let mut common = paths.first().cloned().unwrap_or_default();
    while !paths.iter().all(|path| path.starts_with(&common)) {
        if !common.pop() {
            return PathBuf::new();
        }
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_lies_where_the_runs_meet() {
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(common_folder(&paths(&["runs/a/1"])), Path::new("runs/a/1"));
        assert_eq!(common_folder(&paths(&["runs/a/1", "runs/b/2"])), Path::new("runs"));
        assert_eq!(common_folder(&paths(&["x/1", "y/2"])), Path::new(""));
    }
}
