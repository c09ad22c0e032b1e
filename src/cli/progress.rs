//! What a person sees of a training run: a bar on a terminal, a line an epoch where the standard error is piped.

use super::console::{Console, complain};
use crate::error::{Error, Result};
use crate::train::{Collapse, EpochReport, Flow, Metrics, MetricsLine, Observer, StepReport, Trainer, WARNING};
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use std::fmt;
use std::time::{Duration, Instant};

/// Least time between two changes of the bar.
const REFRESH: Duration = Duration::from_millis(100);

/// Shows a run while it trains.
#[derive(Debug)]
pub struct Progress {
    console: Console,
    bar: Option<ProgressBar>,
    drawn: Instant,
    active_units: Option<usize>,
    /// Whether the last epoch told of a collapse.
    collapsed: bool,
    /// Why the standard output is incomplete, if it is.
    unsaid: Option<Error>,
}

impl Progress {
    /// Begins to show a run, from wherever it stands.
    pub fn new(console: Console, trainer: &Trainer) -> Self {
        let (epochs, rows) = (trainer.config().epochs, trainer.data().train().len() as u64);
        let state = trainer.state();
        let bar = console.draws().then(|| {
            let style = ProgressStyle::with_template("epoch {prefix} {wide_bar} {rate} examples/s, {eta} left, {msg}");
            let bar = ProgressBar::new(epochs * rows);
            let rate = |state: &ProgressState, w: &mut dyn fmt::Write| {
                // Where it cannot be written there is nobody to tell.
                let _ = write!(w, "{:.0}", state.per_sec());
            };
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).with_key("rate", rate));
            bar.set_position(state.epoch * rows + state.sums.rows);
            // A resumed run's rate is that of the rows still to come.
            bar.reset_eta();
            bar
        });
        Progress { console, bar, drawn: Instant::now(), active_units: None, collapsed: false, unsaid: None }
    }
    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
    /// Whether the standard output has every line.
    ///
    /// # Errors
    /// Why it has not. That ends no training: `metrics.jsonl` has the same lines.
    pub fn said(&self) -> Result<()> {
        self.unsaid.clone().map_or(Ok(()), Err)
    }
    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| complain(line)),
            None => self.console.say(line),
        }
    }
}

impl Observer for Progress {
    fn step(&mut self, trainer: &Trainer, report: &StepReport) -> Result<Flow> {
        if let Some(bar) = self.bar.as_ref().filter(|_| self.drawn.elapsed() >= REFRESH) {
            self.drawn = Instant::now();
            let so_far = Metrics::from(&trainer.state().sums);
            let active = self.active_units.map_or_else(String::new, |n| format!(", {n} active"));
            bar.set_prefix(format!("{}/{}", report.epoch, trainer.config().epochs));
            bar.set_position((report.epoch - 1) * report.rows.1 + report.rows.0);
            bar.set_message(format!("{}{active}", terms(&so_far, &label(trainer))));
        }
        Ok(Flow::Continue)
    }

    fn epoch(&mut self, trainer: &Trainer, report: &EpochReport) -> Result<Flow> {
        self.active_units = Some(report.active_units);
        self.say(&line(report, trainer.config().epochs, &label(trainer)));
        // Once when it comes, and again after the last epoch.
        let last = report.epoch == trainer.config().epochs;
        if let Some(collapse) = Collapse::find(trainer, report).filter(|_| last || !self.collapsed) {
            self.say(&format!("note: {collapse}"));
            self.collapsed = true;
        } else if !Collapse::is_one(report.active_units, trainer.config().vae.latent) {
            self.collapsed = false;
        }
        if self.console.json && self.unsaid.is_none() {
            let write = || self.console.data(|w| writeln!(w, "{}", MetricsLine::from(report).to_json()));
            if let Err(e) = self.bar.as_ref().map_or_else(write, |bar| bar.suspend(write)) {
                complain(format_args!("{WARNING}{e}; training goes on without it"));
                self.unsaid = Some(e);
            }
        }
        Ok(Flow::Continue)
    }
}

/// What the objective's own bound is called, where it has one.
fn label(trainer: &Trainer) -> String {
    trainer.config().objective.label(trainer.config().samples)
}

/// `-ELBO 105.62 = 80.31 + 25.31`, and `, -IWAE_5 103.20` where that is the objective, or its penalty without the weight
fn terms(m: &Metrics, label: &str) -> String {
    let bound = m.neg_bound.map_or_else(String::new, |bound| format!(", -{label} {bound:.2}"));
    let penalty = m.penalty.map_or_else(String::new, |penalty| format!(", penalty {penalty:.4}"));
    format!("-ELBO {:.2} = {:.2} + {:.2}{bound}{penalty}", m.neg_elbo, m.reconstruction, m.kl)
}

/// What an epoch did, on one line.
fn line(report: &EpochReport, epochs: u64, label: &str) -> String {
    let width = epochs.to_string().len();
    let mut line = format!("epoch {:width$}/{epochs}  train {}", report.epoch, terms(&report.train, label));
    for (name, metrics) in [("validation", &report.validation), ("test", &report.heldout)] {
        if let Some(metrics) = metrics {
            line += &format!("  {name} {}", terms(metrics, label));
        }
    }
    if report.beta != 1.0 {
        line += &format!("  beta {:.4}", report.beta);
    }
    let star = if report.validation.is_some() && report.improved { "  best" } else { "" };
    line + &format!("  {} active  {:.0} examples/s{star}", report.active_units, report.samples_per_second)
}
