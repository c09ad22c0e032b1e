//! A run whose prior is made of its training rows: which rows they are, as they are seen, and their encodings, made anew at the end of
//! each epoch.

use super::{TrainConfig, Trainer, filler};
use crate::data::{Binarize, View};
use crate::density::PriorKind;
use crate::error::{Error, Result};
use crate::model::{ExemplarRows, Inference, Vae, Workspace};
use crate::tensor::{Exec, Mat, Noise, Params};
use ndarray::{Array2, ArrayView2};
use std::borrow::Cow;
use std::sync::Arc;

/// The exemplars of a run.
#[derive(Debug)]
pub(super) struct RunExemplars {
    rows: ExemplarRows<f32>,
    /// The encoder's means of all of them after a step, by the parameters that are the model, (N, L).
    latest: Option<(u64, Arc<Array2<f32>>)>,
}

/// Whether there are as many rows as are drawn, and all at hand.
///
/// # Errors
/// Fewer, or rows that are streamed.
pub(super) fn check(config: &TrainConfig, train: &View) -> Result<()> {
    let PriorKind::Exemplar { drawn, .. } = config.vae.prior else { return Ok(()) };
    if train.rows().is_streamed() {
        return Err(Error::input("exemplars are drawn from all training rows in every step, and these are streamed")
            .hint("let them be held with --memory, or choose another --prior"));
    }
    if drawn > train.len() {
        let what =
            format!("{drawn} exemplars are drawn from the training rows in every step, and there are {}", train.len());
        return Err(Error::input(what).hint("--prior exemplar:M:K with a smaller M"));
    }
    Ok(())
}

impl RunExemplars {
    /// Those of a configuration, if its prior is made of exemplars. They are the rows as they are held: grey pixels stay grey where
    /// the batch's are binarized anew each time, as in the authors' code; fixed binary ones are binary.
    pub fn new(config: &TrainConfig, train: &View, noise: Noise) -> Option<Self> {
        if !config.vae.prior.is_exemplar() {
            return None;
        }
        let binarize = if config.binarize == Binarize::Dynamic { Binarize::None } else { config.binarize };
        let view = train.clone();
        let rows = ExemplarRows::new(train.len(), move |r, x: &mut [f32]| filler(&view, binarize, noise)(r, x));
        Some(RunExemplars { rows, latest: None })
    }
    /// The rows.
    pub fn rows(&self) -> &ExemplarRows<f32> {
        &self.rows
    }
    /// The encoder's mean of each row with some parameters, (N, L).
    pub fn encode(&self, vae: &Vae, params: &Params<f32>, ex: &Exec) -> Arc<Array2<f32>> {
        let mut means = Array2::zeros((self.rows.count(), vae.config().latent));
        let fill = |r: usize, x: &mut [f32]| self.rows.fill(r, x);
        Inference::new(vae, params, ex).encode(self.rows.count(), &fill, |r, mean, _| {
            means.row_mut(r).iter_mut().zip(mean).for_each(|(to, mean)| *to = *mean);
        });
        Arc::new(means)
    }
    /// Those of the model after a step, if they have been noted.
    pub fn after(&self, step: u64) -> Option<Arc<Array2<f32>>> {
        self.latest.as_ref().filter(|(at, _)| *at == step).map(|(_, means)| Arc::clone(means))
    }
    /// Notes those of the model after a step.
    pub fn note(&mut self, step: u64, means: &Arc<Array2<f32>>) {
        self.latest = Some((step, Arc::clone(means)));
    }
    /// Forgets them.
    pub fn forget(&mut self) {
        self.latest = None;
    }
}

/// Writes the means that exemplars are found by. Panics at another shape.
pub(super) fn remember(workspace: &mut Workspace<f32>, means: ArrayView2<f32>) {
    let Some(mut to) = workspace.remembered_mut() else { return };
    assert_eq!((to.rows(), to.cols()), means.dim(), "means of rows");
    for (r, mean) in means.rows().into_iter().enumerate() {
        to.row(r).iter_mut().zip(mean).for_each(|(to, mean)| *to = *mean);
    }
}

impl Trainer {
    /// The encoder's means of all training rows, (N, L), by the model's present parameters, where the prior is made of them. They are
    /// encoded once an epoch, and at other times when they are asked for.
    pub fn exemplars(&self) -> Option<Arc<Array2<f32>>> {
        let exemplars = self.exemplars.as_ref()?;
        Some(
            exemplars
                .after(self.state().step)
                .unwrap_or_else(|| exemplars.encode(self.vae(), self.model(), self.exec())),
        )
    }
    /// The network as a model keeps it: with its exemplars, if it has such.
    pub fn trained(&self) -> Cow<'_, Vae> {
        match self.exemplars() {
            Some(means) => Cow::Owned(self.vae().clone().with_exemplars(means)),
            None => Cow::Borrowed(self.vae()),
        }
    }
    /// The mean of each training row as it was when last encoded, (N, L), by which the nearest exemplars are found, where the prior is
    /// made of such: a part of the run's state.
    pub fn remembered(&self) -> Option<Mat<'_, f32>> {
        self.workspace.remembered()
    }
    /// Fills what is [remembered](Self::remembered) of the training rows of a run that is restored. Panics at another shape.
    pub fn restore_remembered(&mut self, means: ArrayView2<f32>) {
        remember(&mut self.workspace, means);
    }
    /// Encodes all exemplars anew, if there are any: for the evaluation, and as what is remembered in the next epoch.
    pub(super) fn encode_exemplars(&mut self) {
        let Some(exemplars) = &self.exemplars else { return };
        let model = exemplars.encode(self.vae(), self.model(), self.exec());
        let last = self.average().map(|_| exemplars.encode(self.vae(), self.params(), self.exec()));
        remember(&mut self.workspace, last.as_ref().unwrap_or(&model).view());
        let step = self.state().step;
        self.exemplars.iter_mut().for_each(|exemplars| exemplars.note(step, &model));
    }
}
