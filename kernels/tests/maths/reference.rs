//! The oracles themselves, against tabulated values and exact cases.

use elbo_kernels::reference;

#[test]
fn erf_is_the_tabulated_one() {
    // To 22 digits from a computer algebra system, rounded here to double precision.
    #[allow(clippy::excessive_precision, reason = "the table's own digits")]
    let table = [
        (1e-10, 1.128379167095512615002e-10),
        (0.5, 0.5204998778130465376827),
        (1.0, 0.8427007929497148693412),
        (2.0, 0.9953222650189527341621),
        (2.75, 0.9998993780778803631631),
        (3.5, 0.9999992569016276585873),
        (5.0, 0.9999999999984625402056),
    ];
    for (x, want) in table {
        let got = reference::erf(x);
        assert!((got - want).abs() <= f64::EPSILON * want, "erf({x}) = {got:e}, not {want:e}");
        assert_eq!(reference::erf(-x), -got);
    }
    assert!(reference::erf(f64::NAN).is_nan());
}

#[test]
fn compensated_sums_survive_cancellation() {
    assert_eq!(reference::sum(&[1e16, 1.0, -1e16]), 1.0);
    assert_eq!(reference::dot(&[1e8, 1.0, 1e8], &[1e8, 0.5, -1e8]), 0.5);
    // The product's rounding error counts too.
    let x = 1.0 + f64::EPSILON;
    assert_eq!(reference::dot(&[x, -1.0], &[x, 1.0 + 2.0 * f64::EPSILON]), f64::EPSILON * f64::EPSILON);
}

#[test]
fn gemm_of_a_small_case() {
    let (a, b) = ([1.0f32, 2.0, 3.0, 4.0], [5.0f32, 6.0, 7.0, 8.0]);
    let mut c = [f32::NAN; 4];
    reference::gemm(2, 2, 2, &a, [2, 1], &b, [2, 1], None, false, &mut c, [2, 1]);
    assert_eq!(c, [19.0, 22.0, 43.0, 50.0]);
    // A transposed, C transposed, on top of the old, bias last.
    let mut c = [1.0f32; 4];
    reference::gemm(2, 2, 2, &a, [1, 2], &b, [2, 1], Some(&[100.0, 200.0]), true, &mut c, [1, 2]);
    assert_eq!(c, [127.0, 139.0, 231.0, 245.0]);
}
