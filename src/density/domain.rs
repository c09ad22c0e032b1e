//! Which values a likelihood is defined on.

/// Which values a likelihood is defined on.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Domain {
    /// Any finite number.
    Real,
    /// Numbers in [0, 1].
    Unit,
    /// The integers 0 .. classes.
    Classes(usize),
    /// The integers from 0 to 2²⁴, beyond which f32 does not hold every integer.
    Counts,
    /// 8-bit values, as pixels are read: 0, 1/255, …, 1.
    Bytes,
}

/// The largest count.
const MOST_COUNTS: f64 = (1u64 << 24) as f64;

impl Domain {
    /// Whether a number is one of its values; of an 8-bit value, to within a thousandth of a level.
    pub fn contains(self, x: f64) -> bool {
        match self {
            Domain::Real => x.is_finite(),
            Domain::Unit => (0.0..=1.0).contains(&x),
            Domain::Classes(classes) => x.fract() == 0.0 && (0.0..classes as f64).contains(&x),
            Domain::Counts => x.fract() == 0.0 && (0.0..=MOST_COUNTS).contains(&x),
            Domain::Bytes => (0.0..=1.0).contains(&x) && (255.0 * x - level(x)).abs() < 1e-3,
        }
    }
    /// What its values are, in words that follow "needs", and what to do about others.
    pub fn describe(self) -> (String, &'static str) {
        match self {
            Domain::Real => ("finite numbers".to_owned(), "remove or fill in such values"),
            Domain::Unit => ("values in [0, 1]".to_owned(), "use `--likelihood gaussian`, or scale the data to [0, 1]"),
            Domain::Classes(classes) => (
                format!("the integers 0 to {}", classes.saturating_sub(1)),
                "give the right number of classes (categorical:K), or choose --likelihood gaussian",
            ),
            Domain::Counts => (
                format!("counts: the integers 0 to {MOST_COUNTS}"),
                "use `--likelihood gaussian` for other numbers; pictures' bytes are read as numbers in [0, 1]",
            ),
            Domain::Bytes => (
                "8-bit values: 0, 1/255, 2/255, …, 1".to_owned(),
                "divide numbers from 0 to 255 by 255 (pictures' bytes already are), or use `--likelihood gaussian`",
            ),
        }
    }
}

/// The level, 0 … 255, of an 8-bit value.
pub(super) fn level(x: f64) -> f64 {
    (255.0 * x).round()
}

#[cfg(test)]
mod tests {
    use super::Domain;

    #[test]
    fn every_domain_knows_its_values() {
        for (domain, inside, outside) in [
            (Domain::Real, &[-1e30, 0.0][..], &[f64::NAN, f64::INFINITY][..]),
            (Domain::Unit, &[0.0, 0.3, 1.0], &[-1e-9, 1.1, f64::NAN]),
            (Domain::Classes(3), &[0.0, 2.0], &[-1.0, 0.5, 3.0, f64::NAN]),
            (Domain::Counts, &[0.0, 7.0, 16_777_216.0], &[-1.0, 0.5, 16_777_217.0, f64::INFINITY, f64::NAN]),
            (Domain::Bytes, &[0.0, 1.0, 0.6], &[0.5, 255.0, -1.0 / 255.0, 256.0 / 255.0, f64::NAN]),
        ] {
            assert!(inside.iter().all(|&x| domain.contains(x)), "{domain:?} {inside:?}");
            assert!(outside.iter().all(|&x| !domain.contains(x)), "{domain:?} {outside:?}");
        }
        // As bytes are gathered: rounded to f32.
        assert!((0..=255u8).all(|b| Domain::Bytes.contains(f64::from(f32::from(b) * (1.0 / 255.0)))));
    }
}
