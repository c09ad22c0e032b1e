//! Which stochastic layers lie between z and the data, as a configuration names them.

use super::{Level, Levels};
use crate::error::{Error, Result};
use crate::nearest::unknown;
use std::fmt;
use std::str::FromStr;

/// The levels below z; it reads and prints as `none`, `hvae:LATENTxWIDTH,…` or `ladder:LATENTxWIDTH,…`, from z down. A level has so many
/// latents, and so many units in each hidden layer between them and the level above.
///
/// ```
/// use elbo::density::LowerKind;
/// let two = "hvae:40x300".parse::<LowerKind>()?;
/// assert_eq!((two.levels().map_or(0, |levels| levels.iter().len()), two.to_string().as_str()), (1, "hvae:40x300"));
/// assert!("leader:40x300".parse::<LowerKind>().unwrap_err().to_string().contains("ladder:LATENTxWIDTH"));
/// # Ok::<(), elbo::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LowerKind {
    /// The decoder sees z.
    #[default]
    None,
    /// Each level's posterior is a network's of x and of the level above, and the decoder sees all levels (Tomczak and Welling 2018).
    Hvae(Levels),
    /// Each level's posterior is what the level above expects of it, corrected by what x says, and the decoder sees the lowest
    /// (Sønderby et al. 2016).
    Ladder(Levels),
}

/// The names, as errors list them.
const NAMES: [&str; 3] = ["none", "hvae:LATENTxWIDTH", "ladder:LATENTxWIDTH"];

/// Parameters of a dense layer; saturates.
fn dense(inputs: usize, outputs: usize) -> usize {
    inputs.saturating_add(1).saturating_mul(outputs)
}

impl LowerKind {
    /// The levels, from z down; none of none.
    pub fn levels(self) -> Option<Levels> {
        match self {
            LowerKind::None => None,
            LowerKind::Hvae(levels) | LowerKind::Ladder(levels) => Some(levels),
        }
    }
    /// Latents of each level, from z down.
    pub fn latents(self) -> Vec<usize> {
        self.levels().map_or_else(Vec::new, |levels| levels.iter().map(|level| level.latent).collect())
    }
    /// The levels, each with the number of latents above it, of which z has `latent`.
    fn each(self, latent: usize) -> impl Iterator<Item = (usize, Level)> {
        let levels: Vec<Level> = self.levels().map_or_else(Vec::new, |levels| levels.iter().collect());
        [latent].into_iter().chain(self.latents()).zip(levels)
    }
    /// Parameters of the levels' own networks, dense ones, for rows of `inputs` columns, an encoder whose last hidden layer is
    /// `encoded` wide, and `latent` latents of z; `usize::MAX` if there are too many to count. What the decoder has of them is its.
    pub fn parameters(self, inputs: usize, encoded: usize, latent: usize) -> usize {
        let mut sum = 0usize;
        let mut add = |(inputs, outputs)| sum = sum.saturating_add(dense(inputs, outputs));
        let mut levels: Vec<(usize, Level)> = self.each(latent).collect();
        for &(above, Level { latent, width }) in &levels {
            [(above, width), (width, width), (width, latent.saturating_mul(2))].into_iter().for_each(&mut add);
            if let LowerKind::Hvae(_) = self {
                let both = width.saturating_mul(2);
                [(inputs, width), (above, width), (both, width), (width, latent.saturating_mul(2))]
                    .into_iter()
                    .for_each(&mut add);
            }
        }
        if let LowerKind::Ladder(_) = self {
            let mut below = encoded;
            while let Some((_, Level { latent, width })) = levels.pop() {
                [(below, latent.saturating_mul(2)), (below, width), (width, width)].into_iter().for_each(&mut add);
                below = width;
            }
        }
        sum
    }
    /// Numbers that a step keeps for each sample, in about, where z has `latent` latents.
    pub fn activations(self, latent: usize) -> usize {
        let of = |(above, Level { latent, width }): (usize, Level)| {
            let both = above.saturating_add(latent).saturating_mul(4);
            both.saturating_add(8 * latent).saturating_add(10 * width)
        };
        self.each(latent).map(of).fold(0, usize::saturating_add)
    }
}

impl fmt::Display for LowerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LowerKind::None => write!(f, "none"),
            LowerKind::Hvae(levels) => write!(f, "hvae:{levels}"),
            LowerKind::Ladder(levels) => write!(f, "ladder:{levels}"),
        }
    }
}

impl FromStr for LowerKind {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let parse = |name: &str, levels: &str| {
            let hint = format!(
                "{name}:40x300, for example: 40 latents, hidden layers of 300; {name}:40x300,20x300 has one level more"
            );
            Levels::parse(levels, text).map_err(|e| e.hint(hint))
        };
        match text.split_once(':') {
            None if text == "none" => Ok(LowerKind::None),
            Some(("hvae", levels)) => Ok(LowerKind::Hvae(parse("hvae", levels)?)),
            Some(("ladder", levels)) => Ok(LowerKind::Ladder(parse("ladder", levels)?)),
            _ => Err(unknown("kind of levels below z", text, &NAMES)),
        }
    }
}
