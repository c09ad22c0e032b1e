//! How to run: which instruction set, and how many threads.

use crate::error::{Error, Result};
use elbo_kernels::Isa;
use elbo_kernels::par::Par;
use std::sync::Arc;

/// The instruction set and the threads that a computation uses. Results do not depend on the number of threads.
#[derive(Clone, Debug)]
pub struct Exec {
    isa: Isa,
    threads: usize,
    pool: Option<Arc<rayon::ThreadPool>>,
}

/// More threads than anyone means.
const MOST_THREADS: usize = 1024;

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

impl Exec {
    /// One thread, and the instruction set that [`Isa::detect`] finds.
    ///
    /// # Errors
    /// When the environment's `ELBO_ISA` names an instruction set that this processor lacks.
    pub fn sequential() -> Result<Self> {
        Self::with_isa(Isa::detect().map_err(|e| Error::input(e).hint("unset ELBO_ISA, or name one of those"))?, 1)
    }
    /// `threads` threads (0: as many as there are cores). No more of them are started than there are cores: the rest
    /// would only take turns.
    ///
    /// # Errors
    /// As [`sequential`](Self::sequential), and when the threads cannot be started.
    pub fn new(threads: usize) -> Result<Self> {
        let isa = Self::sequential()?.isa;
        let threads = if threads == 0 { cores() } else { threads };
        Self::start(isa, threads, threads.min(cores()))
    }
    /// A given instruction set and number of threads (0: as many as there are cores), all of which are started, however
    /// few the cores.
    ///
    /// # Errors
    /// When there are too many threads to start.
    pub fn with_isa(isa: Isa, threads: usize) -> Result<Self> {
        let threads = if threads == 0 { cores() } else { threads };
        Self::start(isa, threads, threads)
    }
    fn start(isa: Isa, threads: usize, workers: usize) -> Result<Self> {
        let cannot = || Error::input(format!("cannot start {threads} threads")).hint("--threads 0 uses every core");
        if threads > MOST_THREADS {
            let most = format!("cannot start {threads} threads: {MOST_THREADS} are the most");
            return Err(Error::input(most).hint("--threads 0 uses every core"));
        }
        let pool = match workers {
            1 => None,
            _ => Some(rayon::ThreadPoolBuilder::new().num_threads(workers).build().map_err(|_| cannot())?),
        };
        Ok(Exec { isa, threads, pool: pool.map(Arc::new) })
    }
    /// The instruction set.
    pub fn isa(&self) -> Isa {
        self.isa
    }
    /// The threads that were asked for.
    pub fn threads(&self) -> usize {
        self.threads
    }
    /// The threads that there are to work.
    pub fn workers(&self) -> usize {
        self.pool.as_ref().map_or(1, |p| p.current_num_threads())
    }
    /// How kernels may run inside [`install`](Self::install).
    pub fn par(&self) -> Par {
        if self.pool.is_some() { Par::Pool } else { Par::Sequential }
    }
    /// Runs `f` inside the pool, so that it need not be entered again for each piece of work.
    pub fn install<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        match &self.pool {
            Some(pool) => pool.install(f),
            None => f(),
        }
    }
}
