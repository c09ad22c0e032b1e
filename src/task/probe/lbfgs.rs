//! The minimum of a smooth convex function: L-BFGS (Nocedal and Wright, 2006, algorithms 7.4 and 7.5) with backtracking.

use std::collections::VecDeque;

/// Steps whose curvature is remembered.
const MEMORY: usize = 10;
/// Steps at most.
const MOST_STEPS: usize = 1000;
/// The largest derivative at which the minimum is taken for reached.
const FLAT: f64 = 1e-4;

/// A step and the change of the gradient along it, with 1 / ⟨step, change⟩.
struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    rho: f64,
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(to: &mut [f64], factor: f64, from: &[f64]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += factor * from);
}

/// −H g, H the inverse Hessian as the pairs know it: the two loops.
fn direction(gradient: &[f64], pairs: &VecDeque<Pair>) -> Vec<f64> {
    let mut d: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut alphas = Vec::with_capacity(pairs.len());
    for pair in pairs.iter().rev() {
        let alpha = pair.rho * dot(&pair.step, &d);
        add(&mut d, -alpha, &pair.change);
        alphas.push(alpha);
    }
    // The newest pair's curvature; without one, a step of length 1 at most.
    let scale = match pairs.back() {
        Some(newest) => 1.0 / (newest.rho * dot(&newest.change, &newest.change)),
        None => 1.0 / dot(gradient, gradient).sqrt().max(1.0),
    };
    d.iter_mut().for_each(|d| *d *= scale);
    for (pair, alpha) in pairs.iter().zip(alphas.into_iter().rev()) {
        let beta = pair.rho * dot(&pair.change, &d);
        add(&mut d, alpha - beta, &pair.step);
    }
    d
}

/// Moves `at` to where no derivative of `f` is above 1e-4 and says whether it got there: `f(x, gradient)` is the value at x,
/// and writes the gradient.
pub fn minimise(at: &mut [f64], mut f: impl FnMut(&[f64], &mut [f64]) -> f64) -> bool {
    let (mut gradient, mut next_gradient) = (vec![0.0; at.len()], vec![0.0; at.len()]);
    let mut value = f(at, &mut gradient);
    let mut pairs: VecDeque<Pair> = VecDeque::with_capacity(MEMORY);
    for _ in 0..MOST_STEPS {
        if gradient.iter().all(|g| g.abs() <= FLAT) {
            return true;
        }
        let d = direction(&gradient, &pairs);
        let (slope, mut length) = (dot(&gradient, &d), 1.0);
        let mut next = at.to_vec();
        // Armijo's rule. Where rounding hides every descent, there is none to be had.
        loop {
            next.copy_from_slice(at);
            add(&mut next, length, &d);
            let found = f(&next, &mut next_gradient);
            if found <= value + 1e-4 * length * slope {
                value = found;
                break;
            }
            length *= 0.5;
            if length < 1e-10 {
                return false;
            }
        }
        let step: Vec<f64> = next.iter().zip(at.iter()).map(|(b, a)| b - a).collect();
        let change: Vec<f64> = next_gradient.iter().zip(&gradient).map(|(b, a)| b - a).collect();
        let curvature = dot(&step, &change);
        if curvature > 1e-12 * dot(&step, &step) {
            if pairs.len() == MEMORY {
                pairs.pop_front();
            }
            pairs.push_back(Pair { step, change, rho: 1.0 / curvature });
        }
        at.copy_from_slice(&next);
        std::mem::swap(&mut gradient, &mut next_gradient);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::minimise;

    #[test]
    fn a_quadratic_of_uneven_curvature() {
        // ½ Σ c (x − i)², curvatures from 1 to 1000.
        let curvature = |i: usize| 10f64.powf(i as f64 / 3.0);
        let mut at = vec![5.0; 10];
        let found = minimise(&mut at, |x, g| {
            let mut value = 0.0;
            for (i, (x, g)) in x.iter().zip(g).enumerate() {
                *g = curvature(i) * (x - i as f64);
                value += 0.5 * *g * (x - i as f64);
            }
            value
        });
        assert!(found && at.iter().enumerate().all(|(i, x)| (x - i as f64).abs() < 1.1e-4), "{at:?}");
    }

    #[test]
    fn what_has_no_minimum_is_said() {
        assert!(!minimise(&mut [0.0], |x, g| {
            g[0] = -1.0;
            -x[0]
        }));
    }
}
