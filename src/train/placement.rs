//! Where the threads' cores stand, which changes the speed of a step and none of its bytes.

use crate::tensor::{Cores, Exec, Params, core_round_trip};
use std::time::{Duration, Instant};

/// Where the threads' cores stand is looked at now and then: a virtual machine's may be moved.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Placement {
    /// When to look again; at once, if never looked.
    again: Option<Instant>,
    fixed: bool,
}

/// How long a look takes, and how long what was seen is believed: longer where it took longer, because the cores were busy.
const LOOK: Duration = Duration::from_millis(1);
const BELIEVED: Duration = Duration::from_secs(1);
const BELIEVED_LOOKS: u32 = 200;
/// A round trip that no distance between cores explains.
const BUSY_NS: f64 = 2000.0;

impl Placement {
    /// Looks no more.
    pub fn fix(&mut self) {
        self.fixed = true;
    }
    /// Looks where the cores of a step on several threads stand, if that has not been done lately.
    pub fn look(&mut self, ex: &Exec, params: &mut Params<f32>) {
        let begun = Instant::now();
        if self.fixed || self.again.is_some_and(|again| begun < again) {
            return;
        }
        // A longer trip says that a core was busy, and nothing of where it is.
        if let Some(ns) = core_round_trip(ex, LOOK).filter(|&ns| ns < BUSY_NS) {
            params.place(Cores::from_round_trips([ns, ns]));
        }
        let took = begun.elapsed();
        self.again = Some(begun + BELIEVED.max(took * BELIEVED_LOOKS));
    }
}
