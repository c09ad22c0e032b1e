//! A rows pass in stages, of a network whose rows meet on the way: [batch normalization](crate::layer::BatchNorm).
//!
//! ```text
//! x → encoder's part 0 ⊣ part 1 ⊣ … → η → z → decoder's part 0 ⊣ part 1 ⊣ … → log p(x|z)        and all the way back
//! ```
//!
//! Each stage takes every block, on any thread, as far as the next meeting ⊣, where the columns of all blocks are summed. A batch of
//! very few rows, as may be left at the end of an epoch, has no variance that says anything: it goes through at rest, by the
//! running averages, and they stay what they are.

use super::block::encoder_input;
use super::{Block, Draw, Norm, PriorTable, Vae, VaeConfig, Workspace, load};
use crate::density::PriorKind;
use crate::error::{Error, Result};
use crate::estimator::{Batch, Estimator};
use crate::layer::{Cache, Layer, Meeting};
use crate::tensor::{Isa, Params, Real};

/// What to do about a network that cannot be normalised by the batch.
const INSTEAD: &str = "--norm layer, whose rows do not meet; or leave --norm out";

impl VaeConfig {
    /// Whether nothing is encoded apart from the batch by which hidden layers are normalised.
    pub(super) fn check_norm(&self) -> Result<()> {
        match self.prior {
            PriorKind::Vamp(_) | PriorKind::Exemplar { .. } if self.norm == Norm::Batch => Err(Error::input(format!(
                "hidden layers are normalised by the batch, and the components of the prior {} are encoded apart from it",
                self.prior
            ))
            .hint("--norm layer, or a prior with components of its own: --prior mixture:500, for example")),
            _ => Ok(()),
        }
    }
    /// Whether gradients are those of an objective's value where rows depend on one another; `surrogate` as
    /// [`Estimator::surrogate`].
    ///
    /// # Errors
    /// Gradients of a surrogate, of hidden layers that are normalised by the batch.
    pub fn check_normalised_gradient(&self, surrogate: bool) -> Result<()> {
        if self.norm != Norm::Batch || !surrogate {
            return Ok(());
        }
        Err(Error::input(
            "the gradients stl and dreg, and the objective piwae, weigh the path of each sample by terms of its own row, and with \
             hidden layers that are normalised by the batch every row's terms depend on all latents",
        )
        .hint("--gradient plain of another objective, or --norm layer"))
    }
}

impl Vae {
    /// Where the rows of a batch meet, in the order of a step: the encoder's, then the decoder's.
    pub(super) fn meetings(&self) -> Vec<Meeting> {
        let mut all = Layer::<f32>::meetings(&self.encoder);
        all.extend(Layer::<f32>::meetings(&self.decoder));
        all
    }
    /// Whether rows meet nowhere but where a step knows of.
    pub(super) fn check_meetings(&self) -> Result<()> {
        let Some(statistics) = self.layout().statistics() else { return Ok(()) };
        // A running mean and a running variance each.
        if statistics.entries().len() == 2 * self.meetings().len() {
            return Ok(());
        }
        let known = |name: &str| ["encoder.", "decoder."].iter().any(|network| name.starts_with(network));
        let mut names = statistics.entries().iter().map(|e| e.name.as_str());
        let other = names.clone().find(|name| !known(name)).or(names.next_back()).unwrap_or_default();
        let network = other.split('.').next().unwrap_or_default();
        Err(Error::input(format!(
            "hidden layers are normalised by the batch in the encoder and the decoder, and the {network} has some too ({other})"
        ))
        .hint(INSTEAD))
    }
    /// Moves the running averages of batch normalizations a tenth of the way to the moments of the batch that a rows pass has
    /// just taken to `ws`: once a step, before or after the parameters' update. Nothing happens without such, and after a batch that was
    /// too short for them.
    pub fn follow_batch<F: Real>(&self, ws: &Workspace<F>, p: &mut Params<F>) {
        ws.meetings.iter().for_each(|meeting| meeting.follow(p));
    }
    /// The cache and the rows that a stage's meeting finds in a block.
    fn at_meeting<'b, F: Real>(&self, stage: usize, b: &'b Block<F>) -> (&'b Cache<F>, usize) {
        if stage < Layer::<F>::parts(&self.encoder) - 1 { (&b.encoder, b.rows) } else { (&b.decoder, b.many()) }
    }
    /// Tells a block what a stage's meeting has counted.
    fn tell<F: Real>(&self, stage: usize, meeting: &Meeting, p: &Params<F>, b: &mut Block<F>) {
        let of_encoder = stage < Layer::<F>::parts(&self.encoder) - 1;
        meeting.tell(p, if of_encoder { &mut b.encoder } else { &mut b.decoder });
    }

    /// The forward half of the rows pass, for every block.
    #[allow(clippy::too_many_arguments, reason = "a step's inputs, once")]
    pub(super) fn forward_staged<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        rows: usize,
        fill: &(impl Fn(usize, &mut [F]) + Sync),
        draw: &Draw,
        sampled: bool,
        ws: &mut Workspace<F>,
    ) {
        // Taken out while the other parts of the workspace are at work.
        let mut meetings = std::mem::take(&mut ws.meetings);
        let (corruption, few) = (ws.corruption, rows < ws.fewest);
        let (par, components, table) = ws.components();
        self.encode_components(isa, p, par, components, table);
        for stage in 0..=meetings.len() {
            self.each_block(rows, ws, |first, b, table| {
                match stage.checked_sub(1) {
                    Some(before) => self.tell(before, &meetings[before], p, b),
                    None => {
                        load(isa, b, first, fill, draw, corruption);
                        self.leave_out(draw, first, b);
                    }
                }
                self.forward_stage(stage, isa, p, b, sampled, table);
            });
            if let Some(meeting) = meetings.get_mut(stage) {
                meeting.count(par, few, ws.data(), |b| self.at_meeting(stage, b));
            }
        }
        ws.meetings = meetings;
    }
    fn forward_stage<F: Real>(
        &self,
        stage: usize,
        isa: Isa,
        p: &Params<F>,
        b: &mut Block<F>,
        sampled: bool,
        table: Option<&PriorTable<F>>,
    ) {
        let decoders = Layer::<F>::parts(&self.encoder) - 1;
        if stage <= decoders {
            let x = encoder_input(&b.x, b.seen.as_ref(), b.rows);
            self.encoder.forward_part(stage, isa, p, x, &mut b.eta, &mut b.encoder);
        }
        if stage == decoders {
            self.posterior.bound(b.eta.rows_mut(b.rows));
            self.forward_latents(isa, p, b, sampled, table);
            self.join_condition(b);
        }
        if stage >= decoders {
            let many = b.many();
            let z = b.given.as_ref().map_or_else(|| b.z.rows(many), |given| given.joined(many));
            self.decoder.forward_part(stage - decoders, isa, p, z, &mut b.out, &mut b.decoder);
        }
    }

    /// The backward half, for every block.
    pub(super) fn backward_staged<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        estimator: &dyn Estimator<F>,
        batch: &Batch,
        ws: &mut Workspace<F>,
    ) {
        let mut meetings = std::mem::take(&mut ws.meetings);
        let (par, decoders) = (ws.par(), Layer::<F>::parts(&self.encoder) - 1);
        for stage in (0..=meetings.len()).rev() {
            self.each_block(batch.rows, ws, |_, b, table| {
                match meetings.get(stage) {
                    Some(meeting) => self.tell(stage, meeting, p, b),
                    None => self.likelihood_grad(isa, p, b, estimator, batch),
                }
                if stage >= decoders {
                    self.decoder_backward(stage - decoders, isa, p, b);
                }
                if stage == decoders {
                    self.latent_grad(isa, p, b, estimator, table);
                }
                if stage <= decoders {
                    let x = encoder_input(&b.x, b.seen.as_ref(), b.rows);
                    self.encoder.backward_part(stage, isa, p, x, &b.eta, &mut b.d_eta, None, &mut b.encoder);
                }
                if stage == 0 {
                    self.round(isa, b);
                }
            });
            if let Some(before) = stage.checked_sub(1) {
                meetings[before].count_back(par, ws.data(), |b| self.at_meeting(before, b));
            }
        }
        ws.meetings = meetings;
    }
}
