//! Where a step's time goes: a stopwatch for each thread, off unless someone asks.
//!
//! A thread that begins a piece of work calls [`start`], and [`lap`] after each stage of it. Off, each call is one load of a
//! flag; on, one look at the clock.

use super::{Exec, Slot};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What a step does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stage {
    /// Rows from the data into the first layer's operand.
    Gather,
    /// Standard normal noise.
    Noise,
    /// `X W + b` of a layer.
    Forward,
    /// `dY Wᵀ` of a layer.
    Backward,
    /// Activations and their derivatives.
    Activation,
    /// The sampled latents, the KL, and the gradients of both.
    Latent,
    /// `log p(x|z)` and its gradient.
    Likelihood,
    /// Operands rounded to bf16 for the weights pass.
    Round,
    /// `Xᵀ dY` of a parameter, with the optimizer's update where that is fused.
    Gradient,
    /// The copies of a weight that products read.
    Copies,
    /// The optimizer's update, where it is a pass of its own.
    Optimizer,
}

impl Stage {
    const ALL: [Stage; 11] = [
        Stage::Gather,
        Stage::Noise,
        Stage::Forward,
        Stage::Backward,
        Stage::Activation,
        Stage::Latent,
        Stage::Likelihood,
        Stage::Round,
        Stage::Gradient,
        Stage::Copies,
        Stage::Optimizer,
    ];

    /// Its name: lower case.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Gather => "gather",
            Stage::Noise => "noise",
            Stage::Forward => "forward",
            Stage::Backward => "backward",
            Stage::Activation => "activation",
            Stage::Latent => "latent",
            Stage::Likelihood => "likelihood",
            Stage::Round => "round",
            Stage::Gradient => "gradient",
            Stage::Copies => "copies",
            Stage::Optimizer => "optimizer",
        }
    }
}

/// Parameters that are told apart; the times of all further ones are added to the last.
const SLOTS: usize = 64;

struct Watch {
    since: Cell<Option<Instant>>,
    /// Nanoseconds by stage and parameter; what belongs to no parameter is the first one's.
    spent: [[Cell<u64>; SLOTS]; Stage::ALL.len()],
}

static ON: AtomicBool = AtomicBool::new(false);
thread_local! {
    static WATCH: Watch = const { Watch { since: Cell::new(None), spent: [const { [const { Cell::new(0) }; SLOTS] }; 11] } };
}

/// The time since the last call on this thread is nobody's.
#[inline]
pub fn start() {
    if ON.load(Ordering::Relaxed) {
        WATCH.with(|watch| watch.since.set(Some(Instant::now())));
    }
}

/// The time since the last call on this thread went into `stage`, of parameter `slot` if it has one.
#[inline]
pub fn lap(stage: Stage, slot: Option<&Slot>) {
    if ON.load(Ordering::Relaxed) {
        WATCH.with(|watch| {
            let now = Instant::now();
            if let Some(since) = watch.since.replace(Some(now)) {
                let spent = &watch.spent[stage as usize][slot.map_or(0, |slot| slot.index().min(SLOTS - 1))];
                spent.set(spent.get() + (now - since).as_nanos() as u64);
            }
        });
    }
}

/// The time of one stage, and of which parameter (by [`Slot::index`]; 0 where it has none), summed over threads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lap {
    /// The stage.
    pub stage: Stage,
    /// The parameter.
    pub slot: usize,
    /// The time.
    pub time: Duration,
}

/// Sets all watches of `ex`'s threads back, and turns them on or off. They are one for the whole process: profile one
/// thing at a time. Returns what they had counted, stages in order.
pub fn reset(ex: &Exec, on: bool) -> Vec<Lap> {
    let take =
        || WATCH.with(|watch| watch.spent.each_ref().map(|slots| slots.each_ref().map(|spent| spent.replace(0))));
    let counts = match ex.par() {
        super::Par::Sequential => vec![take()],
        super::Par::Pool => ex.install(|| rayon::broadcast(|_| take())),
    };
    ON.store(on, Ordering::Relaxed);
    let mut laps = Vec::new();
    for stage in Stage::ALL {
        for slot in 0..SLOTS {
            let nanoseconds = counts.iter().map(|count| count[stage as usize][slot]).sum();
            if nanoseconds > 0 {
                laps.push(Lap { stage, slot, time: Duration::from_nanos(nanoseconds) });
            }
        }
    }
    laps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_stand_in_their_order() {
        for (i, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, i, "{}", stage.name());
        }
    }
}
