//! Stochastic layers beside z, as a configuration names them: those of a prior that is a VAE over the latents, and those between z
//! and the data.

use crate::error::{Error, Result};
use std::fmt;

/// One more stochastic layer: so many latents, and so many units in each hidden layer between them and the latents nearer to z, on
/// the way up as on the way down.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Level {
    /// Its latents.
    pub latent: usize,
    /// Units of each hidden layer.
    pub width: usize,
}

/// More levels than anyone has made use of: each adds its bound's slack to those below.
const MOST_LEVELS: usize = 4;
const MOST_UNITS: usize = 1 << 16;

/// One to four levels, from z away; they read and print as `LATENTxWIDTH,LATENTxWIDTH…`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Levels {
    /// What is not in use is 0.
    levels: [Level; MOST_LEVELS],
    count: usize,
}

impl Levels {
    /// These levels, from z away.
    ///
    /// # Errors
    /// None, or more than four; a level of none, or more than 65,536, latents or units.
    pub fn new(of: &[Level]) -> Result<Self> {
        let bad = |what: String| Err(Error::input(what).hint("vae:50x100, for example: 50 latents, two layers of 100"));
        if !(1..=MOST_LEVELS).contains(&of.len()) {
            return bad(format!("there are 1 to {MOST_LEVELS} levels, not {}", of.len()));
        }
        let units = 1..=MOST_UNITS;
        if let Some(Level { latent, width }) =
            of.iter().find(|l| !(units.contains(&l.latent) && units.contains(&l.width)))
        {
            return bad(format!("a level has 1 to {MOST_UNITS} latents and hidden units, not {latent}x{width}"));
        }
        let mut levels = [Level::default(); MOST_LEVELS];
        levels[..of.len()].copy_from_slice(of);
        Ok(Levels { levels, count: of.len() })
    }
    /// What stands behind a name's colon. `whole` is what errors show.
    pub(super) fn parse(text: &str, whole: &str) -> Result<Self> {
        let level = |text: &str| {
            let (latent, width) = text.split_once('x')?;
            Some(Level { latent: latent.parse().ok()?, width: width.parse().ok()? })
        };
        let levels = text.split(',').map(|text| {
            level(text).ok_or_else(|| {
                Error::input(format!("`{whole}`: `{text}` is no LATENTxWIDTH"))
                    .hint("vae:50x100, for example: 50 latents, two layers of 100; vae:50x100,20x50 has one level more")
            })
        });
        Self::new(&levels.collect::<Result<Vec<_>>>()?)
    }
    /// They, from z away.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Level> + ExactSizeIterator {
        self.levels.into_iter().take(self.count)
    }
    /// Sums over levels what `f` says of one: its number of latents below, and itself. Saturates.
    fn sum(&self, latent: usize, f: impl Fn(usize, Level) -> usize) -> usize {
        let below = [latent].into_iter().chain(self.iter().map(|level| level.latent));
        below.zip(self.iter()).fold(0usize, |sum, (below, level)| sum.saturating_add(f(below, level)))
    }
    /// Parameters over `latent` latents, of dense layers; `usize::MAX` if there are too many to count.
    pub(super) fn parameters(&self, latent: usize) -> usize {
        self.sum(latent, |below, Level { latent, width }| {
            let both = below.saturating_add(latent);
            // Up and down: into the first hidden layer, through the second, and out to means and log-variances.
            let out = both.saturating_mul(2).saturating_mul(width + 1);
            let inner = width.saturating_mul(width + 2).saturating_mul(2);
            both.saturating_mul(width).saturating_add(inner).saturating_add(out)
        })
    }
    /// Numbers that a step keeps for each sample, in about.
    pub(super) fn activations(&self, latent: usize) -> usize {
        self.sum(latent, |below, Level { latent, width }| {
            below.saturating_mul(3).saturating_add(7 * latent).saturating_add(8 * width)
        })
    }
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Level { latent, width }) in self.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{latent}x{width}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
