//! Sweeps over a block of rows: the bits of the sweeps over one row, and the gradients of what they compute.

use crate::support::{Guarded, Random, assert_gradient, assert_same_bits, lengths, same_everywhere};
use elbo_kernels::{Element, Isa, Mat, MatMut, block, sweep};

/// Rows of every block here; odd, as no vector is.
const ROWS: usize = 5;

/// A matrix of `ROWS` rows whose rows are `gap` elements further apart than they are long.
struct Strided<E> {
    data: Vec<E>,
    cols: usize,
    gap: usize,
}

impl<E: Element> Strided<E> {
    fn random(random: &mut Random, cols: usize, gap: usize) -> Self {
        Strided { data: random.vector(ROWS * (cols + gap), -2.0, 2.0), cols, gap }
    }
    fn mat(&self) -> Mat<'_, E> {
        Mat::new(&self.data, ROWS, self.cols, self.cols + self.gap)
    }
}

fn matrix<E: Element>(buffer: &mut Guarded<E>, cols: usize) -> MatMut<'_, E> {
    MatMut::new(buffer.inside(), ROWS, cols, cols)
}

fn sample_and_kl<E: Element>() {
    let mut random = Random(13);
    for n in lengths().filter(|n| *n < 100) {
        let [eps, dz, w]: [Strided<E>; 3] = [3, 0, 1].map(|gap| Strided::random(&mut random, n, gap));
        let eta = Strided::random(&mut random, 2 * n, 2);
        let (eta, eps, dz, w) = (eta.mat(), eps.mat(), dz.mat(), w.mat());
        let blocks = same_everywhere(|isa| {
            let [mut z, mut kl] = [(); 2].map(|()| Guarded::nan(ROWS * n));
            block::sample_and_kl(isa, eta, eps, matrix(&mut z, n), matrix(&mut kl, n));
            let mut deta = Guarded::nan(ROWS * 2 * n);
            block::sample_and_kl_grad(isa, eta, eps, dz, w, matrix(&mut deta, 2 * n));
            [z, kl, deta].map(Guarded::into_contents).into()
        });
        let mut rows: [Vec<E>; 3] = [vec![E::ZERO; ROWS * n], vec![E::ZERO; ROWS * n], vec![E::ZERO; ROWS * 2 * n]];
        let isa = Isa::default();
        for r in 0..ROWS {
            let ((mean, v), at) = (eta.row(r).split_at(n), r * n..(r + 1) * n);
            sweep::reparameterize(isa, mean, v, eps.row(r), &mut rows[0][at.clone()]);
            sweep::kl_standard_normal(isa, mean, v, &mut rows[1][at]);
            let (dmean, dv) = rows[2][r * 2 * n..(r + 1) * 2 * n].split_at_mut(n);
            sweep::reparameterize_grad(isa, v, eps.row(r), dz.row(r), dmean, dv);
            sweep::kl_standard_normal_grad(isa, mean, v, w.row(r), dmean, dv);
        }
        for ((blocks, rows), what) in blocks.iter().zip(&rows).zip(["z", "kl", "deta"]) {
            assert_same_bits(blocks, rows, format_args!("{what} of {n} latents"));
        }
    }
}

#[test]
fn sampling_with_the_divergence_in_both_precisions() {
    sample_and_kl::<f32>();
    sample_and_kl::<f64>();
}

/// The values, then the derivatives.
fn squared_errors<E: Element>(isa: Isa, x: Mat<E>, mu: &[E], w: &[E], inv_var: E) -> Vec<Vec<E>> {
    let (mut out, mut dmu) = (Guarded::nan(w.len()), Guarded::new(mu));
    let matrix = MatMut::new(dmu.inside(), w.len(), x.cols(), x.cols());
    block::squared_error_grad(isa, x, matrix, w, inv_var, out.inside());
    vec![out.into_contents(), dmu.into_contents()]
}

fn squared_error<E: Element>() {
    let mut random = Random(3);
    for (n, samples) in lengths().filter(|n| *n < 100).flat_map(|n| [(n, 1), (n, 3)]) {
        let (x, many) = (Strided::<E>::random(&mut random, n, 2), ROWS * samples);
        let (mu, w): (Vec<E>, Vec<E>) = (random.vector(many * n, -3.0, 3.0), random.vector(many, -1.0, 1.0));
        let inv_var = E::from_f64(3.0);
        let out = same_everywhere(|isa| squared_errors(isa, x.mat(), &mu, &w, inv_var));
        for r in 0..many {
            let (x, mu) = (x.mat().row(r / samples), &mu[r * n..(r + 1) * n]);
            assert_same_bits(&out[0][r..=r], &[sweep::squared_error(Isa::default(), x, mu)], n);
            let want: Vec<E> = x.iter().zip(mu).map(|(&x, &mu)| w[r] * inv_var * (x - mu)).collect();
            assert_same_bits(&out[1][r * n..(r + 1) * n], &want, n);
        }
    }
}

#[test]
fn squared_error_in_both_precisions() {
    squared_error::<f32>();
    squared_error::<f64>();
    let mut random = Random(4);
    let [x, mu]: [Vec<f64>; 2] = [(); 2].map(|()| random.vector(21, -3.0, 3.0));
    for &isa in Isa::available() {
        let out = squared_errors(isa, Mat::new(&x, 1, 21, 21), &mu, &[0.5], 3.0);
        let log_prob = |mu: &[f64]| -0.5 * 0.5 * 3.0 * sweep::squared_error(isa, &x, mu);
        assert_gradient(log_prob, &mu, &out[1], isa.name());
    }
}

#[test]
#[should_panic(expected = r#"[("eps", (2, 3)), ("eta", (2, 5)), ("z", (2, 3)), ("kl", (2, 3))]"#)]
fn other_shapes_are_refused() {
    let (eta, eps, mut z, mut kl) = ([0.0f32; 10], [0.0; 6], [0.0; 6], [0.0; 6]);
    let [z, kl] = [&mut z, &mut kl].map(|m| MatMut::new(m, 2, 3, 3));
    block::sample_and_kl(Isa::default(), Mat::new(&eta, 2, 5, 5), Mat::new(&eps, 2, 3, 3), z, kl);
}

#[test]
#[should_panic(expected = r#"[("x", (2, 3)), ("mu", (3, 3)), ("w", (3, 1)), ("out", (3, 1))]"#)]
fn samples_that_rows_do_not_divide_are_refused() {
    let (x, mut mu, w, mut out) = ([0.0f32; 6], [0.0; 9], [0.0; 3], [0.0; 3]);
    let (x, mu) = (Mat::new(&x, 2, 3, 3), MatMut::new(&mut mu, 3, 3, 3));
    block::squared_error_grad(Isa::default(), x, mu, &w, 1.0, &mut out);
}
