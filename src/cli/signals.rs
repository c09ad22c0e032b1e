//! Being interrupted (SIGINT, status 130) or terminated (SIGTERM, status 143).
//!
//! A signal ends the program at once, unless a verb has asked to be told first ([`Signals::catch`]); then it is told, and
//! the next signal ends the program at once. Files are renamed into place, so none is left half written.

use crate::error::{Error, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Which signal came, and what the next one does.
#[derive(Clone, Debug)]
pub struct Signals {
    /// Whether the next signal ends the program.
    deadly: Arc<AtomicBool>,
    /// The signal that came, or 0.
    caught: Arc<AtomicUsize>,
}

impl Signals {
    /// Takes over both signals.
    pub fn install() -> Result<Self> {
        let signals = Signals { deadly: Arc::new(AtomicBool::new(true)), caught: Arc::default() };
        let register = || {
            for signal in [SIGINT, SIGTERM] {
                // In this order: a signal that finds `deadly` set ends the program before it is noted.
                flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&signals.deadly))?;
                flag::register_usize(signal, Arc::clone(&signals.caught), signal as usize)?;
                flag::register(signal, Arc::clone(&signals.deadly))?;
            }
            Ok(())
        };
        register().map_err(|e: std::io::Error| Error::input(format!("cannot handle signals: {e}")))?;
        Ok(signals)
    }
    /// From the first call on, the first signal only sets this flag, and the next one ends the program.
    pub fn catch(&self) -> &AtomicBool {
        self.deadly.store(false, Ordering::SeqCst);
        // A signal that came just before is not forgotten.
        if self.caught().is_some() {
            self.deadly.store(true, Ordering::SeqCst);
        }
        &self.deadly
    }
    /// From here on, the next signal ends the program.
    pub fn release(&self) {
        self.deadly.store(true, Ordering::SeqCst);
    }
    /// The signal that was noted.
    pub fn caught(&self) -> Option<u8> {
        match self.caught.load(Ordering::SeqCst) {
            0 => None,
            signal => Some(signal as u8),
        }
    }
}

/// The name of a signal that [`Signals`] notes.
pub fn name(signal: u8) -> &'static str {
    if i32::from(signal) == SIGINT { "interrupted" } else { "terminated" }
}
