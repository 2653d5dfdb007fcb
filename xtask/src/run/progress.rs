//! Progress bars on a terminal, one per seed; lines on stderr elsewhere.

use super::seed::Report;
use crate::table::number;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::IsTerminal;

/// The bars of a run.
pub(crate) struct Bars {
    all: MultiProgress,
    on_terminal: bool,
}

/// The bar of a seed.
pub(crate) struct Bar {
    bar: ProgressBar,
    seed: u64,
    stage: String,
    on_terminal: bool,
}

impl Bars {
    pub(crate) fn new() -> Self {
        Self { all: MultiProgress::new(), on_terminal: std::io::stderr().is_terminal() }
    }

    /// The bar of a seed that begins.
    pub(crate) fn add(&self, seed: u64) -> Bar {
        let bar = if self.on_terminal { self.all.add(ProgressBar::new(1)) } else { ProgressBar::hidden() };
        let template = "seed {prefix:<3} {bar:24} {percent:>3} %  {wide_msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
        }
        bar.set_prefix(seed.to_string());
        bar.set_message("starting");
        Bar { bar, seed, stage: String::new(), on_terminal: self.on_terminal }
    }
}

impl Bar {
    /// Shows where the seed stands: stage, throughput, time left in the stage, last return.
    pub(crate) fn show(&mut self, report: &Report) {
        if !self.on_terminal && self.stage != report.stage {
            eprintln!("seed {}: {}", self.seed, report.stage);
        }
        self.stage.clone_from(&report.stage);
        self.bar.set_length(report.total);
        self.bar.set_position(report.step);
        let rate = report.steps_per_second;
        let left = report.total.saturating_sub(report.step) as f64 / rate;
        let mut message = format!("{}  {} steps/s", report.stage, number(rate));
        if left.is_finite() && report.step < report.total {
            message.push_str(&format!("  {} left", crate::table::duration(left)));
        }
        let episodic = report.latest.iter().find(|(key, _)| key == "charts/episodic_return");
        if let Some((_, Some(value))) = episodic {
            message.push_str(&format!("  return {}", number(*value)));
        }
        self.bar.set_message(message);
    }

    /// Shows how the seed ended.
    pub(crate) fn finish(&self, message: &'static str, complete: bool) {
        if !self.on_terminal {
            eprintln!("seed {}: {message}", self.seed);
        }
        if complete {
            self.bar.finish_with_message(message);
        } else {
            self.bar.abandon_with_message(message);
        }
    }
}
