use elbo_kernels::gemm::*;
use elbo_kernels::panels::Panels;
use elbo_kernels::*;
use std::time::Instant;
struct One<'a>(Mat<'a, f32>, Mat<'a, f32>);
impl Blocks<f32> for One<'_> {
    fn count(&self) -> usize {
        1
    }
    fn get(&self, _: usize) -> (Mat<'_, f32>, Mat<'_, f32>) {
        (self.0, self.1)
    }
}
fn main() {
    for &isa in &Isa::available()[..2] {
        for (m, k, n) in [(64, 784, 400), (64, 400, 784), (64, 400, 40), (64, 20, 400), (64, 784, 512), (128, 512, 256)]
        {
            let x = vec![0.5f32; m * k];
            let w = Panels::new(k, n);
            let pw = vec![0.25f32; w.len()];
            let ldy = n.next_multiple_of(16);
            let mut y = vec![0f32; m * ldy];
            let mut best = f64::MAX;
            for _ in 0..30 {
                let t = Instant::now();
                for _ in 0..10 {
                    rows_product(
                        isa,
                        Mat::new(&x, m, k, k),
                        &w,
                        &pw,
                        None,
                        Accum::Replace,
                        MatMut::new(&mut y, m, n, ldy),
                    );
                }
                best = best.min(t.elapsed().as_secs_f64() / 10.);
            }
            let f = 2. * (m * k * n) as f64;
            let mut g = vec![0f32; w.len()];
            let mut b2 = f64::MAX;
            let b = One(Mat::new(&x, m, k, k), Mat::new(&y, m, n, ldy));
            for _ in 0..30 {
                let t = Instant::now();
                for _ in 0..10 {
                    for j in 0..w.count() {
                        let p = w.panel(j);
                        gradient_tile(isa, &b, &w, j, 0..k, Accum::Replace, &mut g[p.offset..][..k * p.width]);
                    }
                }
                b2 = b2.min(t.elapsed().as_secs_f64() / 10.);
            }
            println!("{} {m}x{k}x{n} rows {:.1} GF  grad {:.1} GF", isa.name(), f / best / 1e9, f / b2 / 1e9);
        }
    }
}
