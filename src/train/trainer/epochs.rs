//! The training loop: epochs of steps, and what is measured between them.

use super::{Pace, Trainer};
use crate::data::{Binarize, View};
use crate::error::{Error, Result};
use crate::estimator::Estimator;
use crate::model::{Draw, Stats};
use crate::optim::{average_decay, average_into, clip_global_norm, normalize_each};
use crate::tensor::{Slot, Stream};
use crate::train::diagnose::diverged;
use crate::train::evaluate::{Evaluation, Metrics, active_units, evaluate_objective};
use crate::train::observe::{EpochReport, Flow, Observer, StepReport};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

impl Trainer {
    /// Trains until the last epoch, until patience runs out, or until the observer says stop. The parameters are then those of the
    /// last step: a [`KeepBest`](crate::train::KeepBest), or a run folder, keeps those of the best epoch by validation.
    ///
    /// # Errors
    /// The observer's, that the objective stopped being finite (with step, term, layer and likely cause), or that
    /// streamed data could not be read.
    pub fn run(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let ex = self.ex.clone();
        ex.install(|| {
            while self.state.epoch < self.config.epochs && !self.out_of_patience() {
                if self.run_epoch(observer)? == Flow::Stop {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Whether the validation objective has not improved for as many epochs as patience allows. Epochs of the
    /// [warm-up](crate::train::TrainConfig::warmup) do not count: what is trained then is not yet what validation measures.
    pub fn out_of_patience(&self) -> bool {
        let warm = self.config.warmup().div_ceil(self.steps_per_epoch());
        let best = self.state.best.map_or(0, |(_, epoch)| epoch);
        let since_best = self.state.epoch.saturating_sub(best.max(warm));
        self.config.patience.is_some_and(|patience| since_best >= patience)
    }

    fn run_epoch(&mut self, observer: &mut dyn Observer) -> Result<Flow> {
        if self.workspace.threads() > 1 {
            self.placement.look(&self.ex, &mut self.params);
        }
        let steps = self.steps_per_epoch();
        while self.state.batch < steps {
            let start = Instant::now();
            let report = self.step()?;
            self.pace.seconds += start.elapsed().as_secs_f64();
            if observer.step(self, &report)? == Flow::Stop {
                // At an epoch's end the epoch is finished first, if there is time, so that the record has its line.
                if self.state.batch == steps {
                    self.end_epoch(observer)?;
                }
                return Ok(Flow::Stop);
            }
        }
        self.end_epoch(observer)
    }

    /// One step: the objective's gradient over the next batch, and the optimizer's update.
    fn step(&mut self) -> Result<StepReport> {
        let (isa, step) = (self.ex.isa(), self.state.step);
        let (noise, binarize) = (self.noise, self.config.binarize);
        self.feed.load(self.state.epoch, self.state.batch as usize)?;
        let rows = self.feed.batch();
        let cols = self.data.train().cols();
        let fill = |r: usize, row: &mut [f32]| {
            let (x, c) = row.split_at_mut(cols);
            rows.gather(r, x);
            rows.gather_condition(r, c);
            if binarize != Binarize::None {
                binarize.apply(noise, step, rows.id(r) as u64, x);
            }
        };
        let draw = Draw { noise, stream: Stream::Train, step };
        let (beta, lr) = (self.beta(step), self.learning_rate(step));
        let estimator = &self.config.estimator_at(step, self.data.train().len());
        let (vae, ws) = (&self.vae, &mut self.workspace);
        ws.place(rows.len(), |r| Some(rows.position(r)));
        vae.rows_pass(isa, &self.params, rows.len(), &fill, &draw, estimator, beta, ws);
        let stats = ws.stats();
        if !(stats.neg_elbo().is_finite() && stats.penalty.is_none_or(f64::is_finite)) {
            return Err(diverged(step + 1, stats, vae, &self.params, ws));
        }
        let train = Metrics::from(stats);
        self.pace.rows += stats.rows;
        self.state.sums.add(stats);
        // What has a closed form follows whole batches, for the last one of an epoch may be a row or two; the optimizer never moves it.
        let whole = stats.rows == self.config.batch_size.min(self.data.train().len()) as u64;
        let elbo = Estimator::<f32>::is_elbo(estimator);
        let reconstruction = if elbo { train.reconstruction } else { ws.weighted_reconstruction() };
        let optimum = vae.likelihood::<f32>().optimum(&self.params, reconstruction).map(|(slot, value)| {
            let value = if whole { value } else { self.params.values().get(&slot, 0, 0) };
            (slot, value)
        });
        vae.follow_batch(ws, &mut self.params);
        let gradient_norm = self.update(lr, optimum.as_ref().map(|(slot, _)| slot));
        if let Some((slot, value)) = optimum {
            self.params.values_mut().set(&slot, 0, 0, value);
        }
        if let Some((average, decay)) = self.average.as_mut().zip(self.config.average) {
            average_into(self.workspace.par(), average, &mut self.params, average_decay(decay, step));
        }
        self.state.step += 1;
        self.state.batch += 1;
        let rows = (self.state.sums.rows, self.data.train().len() as u64);
        Ok(StepReport { step: self.state.step, epoch: self.state.epoch + 1, rows, train, gradient_norm })
    }

    /// The parameters' update by the gradient of the batch that the workspace holds, of which `apart` goes by a closed form. Returns the
    /// gradient's norm before clipping, if clipping is on.
    fn update(&mut self, learning_rate: f64, apart: Option<&Slot>) -> Option<f64> {
        let (isa, par, ws) = (self.ex.isa(), self.workspace.par(), &self.workspace);
        let Some(grads) = &mut self.grads else {
            if let Some((step, moments)) = self.optimizer.fused(learning_rate) {
                self.vae.adam(isa, ws, &step, &mut self.params, moments);
            }
            return None;
        };
        self.vae.weights_pass(isa, ws, grads);
        let norm = self.config.clip.map(|max| {
            // What is not taken from the gradient is no part of its norm.
            apart.into_iter().for_each(|slot| grads.set(slot, 0, 0, 0.0));
            clip_global_norm(isa, par, self.vae.layout(), grads, max)
        });
        if self.config.normalize {
            normalize_each(isa, par, self.vae.layout(), grads);
        }
        self.optimizer.step(isa, par, self.params.values_mut(), grads, learning_rate);
        self.params.refresh(par);
        norm
    }

    fn end_epoch(&mut self, observer: &mut dyn Observer) -> Result<Flow> {
        if let Some(name) = self.bad_parameter() {
            return Err(Error::diverged(format!("step {}: parameter {name} is not finite", self.state.step))
                .hint("lower --learning-rate, or limit gradients with --clip 100"));
        }
        self.encode_exemplars();
        let (epoch, stop) = (self.state.epoch + 1, observer.stop());
        let validation = self.data.validation().map(|v| self.evaluate(v, stop));
        let heldout = self.data.test().map(|v| self.evaluate(v, stop));
        let active_units = match heldout.as_ref().or(validation.as_ref()) {
            Some(evaluation) => evaluation.active_units,
            None => {
                active_units(&mut self.inference().until(stop), self.data.train(), self.config.binarize, self.noise)
            }
        };
        if stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            return Ok(Flow::Stop);
        }
        self.data.all().check_read()?;
        let improved = match &validation {
            None => true,
            Some(e) => {
                let objective = self.objective(&e.stats);
                // An objective that is no number is never the best: no later one would be below it.
                let better = !objective.is_nan() && self.state.best.is_none_or(|(best, _)| objective < best);
                if better {
                    self.state.best = Some((objective, epoch));
                }
                better
            }
        };
        let last = self.state.step - 1;
        let report = EpochReport {
            epoch,
            step: self.state.step,
            train: Metrics::from(&self.state.sums),
            validation: validation.map(|e| Metrics::from(&e.stats)),
            heldout: heldout.map(|e| Metrics::from(&e.stats)),
            beta: self.beta(last),
            kl_by_level: self.vae.kl_by_level(&self.state.sums),
            active_units,
            samples_per_second: self.pace.rows as f64 / self.pace.seconds.max(f64::MIN_POSITIVE),
            learning_rate: self.learning_rate(last),
            seconds: self.pace.seconds,
            improved,
        };
        self.state.epoch = epoch;
        self.state.batch = 0;
        self.state.sums.clear();
        self.pace = Pace::default();
        observer.epoch(self, &report)
    }

    fn evaluate(&self, view: &View, stop: Option<&AtomicBool>) -> Evaluation {
        // The same draw after every epoch, so that the curve shows the model and not the noise.
        let draw = Draw { noise: self.noise, stream: Stream::Evaluate, step: 0 };
        let (estimator, beta) = (&self.estimator, self.final_beta());
        evaluate_objective(&mut self.inference().until(stop), view, self.config.binarize, &draw, estimator, beta)
    }

    /// The objective that selects the best model: the training objective at the KL's final weight, without a penalty of batches.
    fn objective(&self, stats: &Stats) -> f64 {
        stats.value::<f32>(&self.estimator, self.final_beta())
    }

    /// The weight of the last step, and so of what the model is trained for in the end.
    fn final_beta(&self) -> f64 {
        self.config.beta.beta()
    }

    fn beta(&self, step: u64) -> f64 {
        self.config.beta.at(step)
    }

    fn learning_rate(&self, step: u64) -> f64 {
        let steps = self.steps_per_epoch();
        self.config.optimizer.learning_rate() * self.config.schedule.at(step, steps, self.config.epochs * steps)
    }
}
