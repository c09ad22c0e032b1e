//! A model's parameters, and the copies of its weights that products read.
//!
//! `Y = X W` reads the values themselves, `dX = dY Wᵀ` a transposed copy. In bf16 both read copies in pairs of rows.
//! Copies are made tile by tile, right after a tile's values have changed.

use super::profile::{Stage, lap, start};
use super::tile::{Tile, Tiles};
use super::{Cores, Layout, Noise, Precision, Real, Slab, Slot, Stream};
use crate::error::{Error, Result};
use elbo_kernels::activation::Activation;
use elbo_kernels::gemm::{Accum, rows_product, rows_product_half};
use elbo_kernels::half::{Pair, pair_rows};
use elbo_kernels::panels::{MAX_VECTORS, Panels};
use elbo_kernels::par::{Par, Pieced, for_each_piece};
use elbo_kernels::prefetch::write_soon;
use elbo_kernels::transpose::{transpose_tile, transpose_tile_half};
use elbo_kernels::{Aligned, Isa, LANES, Mat, MatMut, stream};
use std::sync::Arc;

/// A model's parameters, with the copies of each weight that products need.
#[derive(Clone, Debug)]
pub struct Params<F> {
    layout: Arc<Layout>,
    values: Slab<F>,
    statistics: Slab<F>,
    copies: Copies<F>,
    tiles: Arc<Tiles>,
    /// Whether what other threads read is written around the caches.
    around: bool,
}

/// Elements of a tile at most.
const TILE: usize = (MAX_VECTORS * LANES) * (MAX_VECTORS * LANES);

/// Copies of the weights, by what products read.
#[derive(Clone, Debug)]
enum Copies<F> {
    /// The transposes.
    Full { transposed: Aligned<F> },
    /// The weights and their transposes, in pairs of rows.
    Half { weights: Aligned<Pair>, transposed: Aligned<Pair> },
}

/// Fills a slab with the values that another one has for the same names.
fn move_slab<F: Real>(own: &Layout, values: &Slab<F>, to: &Layout, out: &mut Slab<F>) -> Result<()> {
    let wrong = |name: &str, has: &str, expected: &str| {
        Err(Error::input(format!("tensor {name}: the trained network has {has}, and this one {expected}"))
            .hint("give it the trained network's layers, latents, prior, posterior and likelihood"))
    };
    for e in to.entries() {
        match own.find(&e.name) {
            None => return wrong(&e.name, "none", &format!("{:?}", e.shape())),
            Some(has) if has.shape() != e.shape() => {
                return wrong(&e.name, &format!("{:?}", has.shape()), &format!("{:?}", e.shape()));
            }
            Some(has) => out.pack(&e.slot, &values.unpack(&has.slot).into_raw_vec_and_offset().0),
        }
    }
    match own.entries().iter().find(|e| to.find(&e.name).is_none()) {
        None => Ok(()),
        Some(e) => wrong(&e.name, &format!("{:?}", e.shape()), "none"),
    }
}

impl<F: Real> Params<F> {
    /// Zeros.
    pub fn zeros(layout: &Layout) -> Self {
        Params {
            layout: Arc::new(layout.clone()),
            values: Slab::zeros(layout),
            statistics: layout.statistics().map_or_else(Slab::default, Slab::zeros),
            copies: Copies::Full { transposed: Aligned::zeros(layout.copies_len().transposed) },
            tiles: Arc::new(Tiles::new(layout)),
            around: false,
        }
    }
    /// Initial values: a function of the layout and the seed.
    pub fn init(layout: &Layout, noise: &Noise) -> Self {
        let mut params = Self::zeros(layout);
        for e in layout.entries() {
            let mut rng = noise.rng(Stream::Init, 0, e.slot.index() as u64, 0);
            // Drawn in PyTorch's order (out, in) and in f32, so that f32 and f64 start from the same values.
            let plain = e.init.draw(e.slot.cols(), e.slot.rows(), &mut rng);
            let mut plain: Vec<F> = plain.iter().map(|x| F::from_f64(f64::from(*x))).collect();
            e.mask.into_iter().for_each(|mask| mask.clear(e.slot.rows(), &mut plain));
            params.values.pack(&e.slot, &plain);
        }
        for e in layout.statistics().map_or(&[][..], Layout::entries) {
            let plain = e.init.draw(e.slot.cols(), 1, &mut noise.rng(Stream::Init, 2, e.slot.index() as u64, 0));
            let plain: Vec<F> = plain.iter().map(|x| F::from_f64(f64::from(*x))).collect();
            params.statistics.pack(&e.slot, &plain);
        }
        params.refresh(Par::Sequential);
        params
    }
    /// The same values in the layout of another network with the same tensors.
    ///
    /// # Errors
    /// The first tensor that the other network does not have, or has in another shape, or has and these are without.
    pub fn laid_out(&self, to: &Layout) -> Result<Self> {
        let mut out = Self::zeros(to);
        move_slab(&self.layout, &self.values, to, &mut out.values)?;
        let none = Layout::new();
        let [own, to] = [&self.layout, to].map(|layout| layout.statistics().unwrap_or(&none));
        move_slab(own, &self.statistics, to, &mut out.statistics)?;
        out.refresh(Par::Sequential);
        Ok(out)
    }
    /// The layout that they are of.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }
    /// The values.
    pub fn values(&self) -> &Slab<F> {
        &self.values
    }
    /// The values, to be changed; call [`refresh`](Self::refresh) before they are used again.
    pub fn values_mut(&mut self) -> &mut Slab<F> {
        &mut self.values
    }
    /// What is part of the model besides the parameters: see [`Layout::statistics`].
    pub fn statistics(&self) -> &Slab<F> {
        &self.statistics
    }
    /// The same, to be changed.
    pub fn statistics_mut(&mut self) -> &mut Slab<F> {
        &mut self.statistics
    }
    /// A slot's values in storage order.
    pub fn slot(&self, slot: &Slot) -> &[F] {
        self.values.slot(slot)
    }
    /// How the parameters are cut into tiles.
    pub fn tiles(&self) -> &Arc<Tiles> {
        &self.tiles
    }
    /// Says how the threads stand that share the work from here on. Where they share no cache, what is written by one and
    /// read by all goes around the caches: a third faster there, slower elsewhere, and the same bits.
    pub fn place(&mut self, cores: Cores) {
        self.around = cores == Cores::Apart;
    }
    /// What the operands of products are rounded to.
    pub fn precision(&self) -> Precision {
        match self.copies {
            Copies::Full { .. } => Precision::F32,
            Copies::Half { .. } => Precision::Bf16,
        }
    }

    /// Changes tiles of the values, each on one thread, with the same tiles of `others`: `f(state, tile, values, others)`,
    /// where the state is the thread's own, made by `init`. A tile's copies follow while it is in cache. Panics when a slab
    /// is of another layout.
    pub fn for_each_tile<T, const N: usize>(
        &mut self,
        par: Par,
        others: [&mut Slab<F>; N],
        init: impl Fn() -> T + Sync,
        f: impl Fn(&mut T, &Tile, &mut [F], [&mut [F]; N]) + Sync,
    ) {
        // Copies have the same bits from every instruction set.
        let (tiles, isa, around) = (&*self.tiles, Isa::default(), self.around);
        let values = Pieced::new(self.values.data_mut(), &tiles.values);
        let slabs = (values, others.map(|slab| Pieced::new(slab.data_mut(), &tiles.values)));
        let count = tiles.list().len();
        match &mut self.copies {
            Copies::Full { transposed } => {
                let pieces = (slabs, Pieced::new(transposed, &tiles.transposed));
                let init = || (init(), around.then_some([[F::ZERO; TILE]; 2]));
                for_each_piece(par, count, pieces, init, |(state, near), i, ((values, others), turned)| {
                    let tile = &tiles.list()[i];
                    start();
                    if let Some([near, near_turned]) = near {
                        // Every thread reads the values.
                        let (near, near_turned) = (&mut near[..values.len()], &mut near_turned[..turned.len()]);
                        near.copy_from_slice(values);
                        f(state, tile, near, others);
                        if !turned.is_empty() {
                            transpose_tile(isa, near, tile.width(), near_turned, tile.turned_width());
                            stream::copy(near_turned, turned);
                        }
                        stream::copy(near, values);
                    } else {
                        write_soon(turned);
                        f(state, tile, values, others);
                        if !turned.is_empty() {
                            transpose_tile(isa, values, tile.width(), turned, tile.turned_width());
                        }
                    }
                    lap(Stage::Copies, Some(&tile.slot));
                });
            }
            Copies::Half { weights, transposed } => {
                let copies = (Pieced::new(weights, &tiles.pairs), Pieced::new(transposed, &tiles.transposed_pairs));
                let init = || (init(), around.then_some([[Pair::default(); TILE / 2]; 2]));
                for_each_piece(
                    par,
                    count,
                    (slabs, copies),
                    init,
                    |(state, near), i, ((values, others), (pairs, turned))| {
                        let tile = &tiles.list()[i];
                        start();
                        if !around {
                            write_soon(pairs);
                            write_soon(turned);
                        }
                        f(state, tile, values, others);
                        let values = F::singles(values);
                        let make = |pairs: &mut [Pair], turned: &mut [Pair]| {
                            if !pairs.is_empty() {
                                pair_rows(isa, values, tile.width(), pairs);
                            }
                            if !turned.is_empty() {
                                transpose_tile_half(isa, values, tile.width(), turned, tile.turned_width());
                            }
                        };
                        if let Some([near, near_turned]) = near {
                            // Every thread reads the pairs, and no other the values.
                            let (near, near_turned) = (&mut near[..pairs.len()], &mut near_turned[..turned.len()]);
                            make(near, near_turned);
                            stream::copy(near, pairs);
                            stream::copy(near_turned, turned);
                        } else {
                            make(pairs, turned);
                        }
                        lap(Stage::Copies, Some(&tile.slot));
                    },
                );
            }
        }
    }
    /// Brings the copies up to date.
    pub fn refresh(&mut self, par: Par) {
        self.for_each_tile(par, [], || (), |(), _, _, []| {});
    }

    /// `Y = f(X W + b)` for a weight and its bias, if it has one: x is (rows, in), y (rows, out).
    pub fn product(&self, isa: Isa, weight: &Slot, bias: Option<&Slot>, f: Activation, x: Mat<F>, y: MatMut<F>) {
        let bias = bias.map(|bias| self.slot(bias));
        match (&self.copies, weight.pairs()) {
            (Copies::Half { weights, .. }, Some(at)) => {
                half_product(isa, x, weight.panels(), &weights[at..], bias, f, y);
            }
            _ => rows_product(isa, x, weight.panels(), self.slot(weight), bias, f, Accum::Replace, y),
        }
    }
    /// `dX = dY Wᵀ`: dy is (rows, out), dx (rows, in). Panics when the layout kept no transpose of the weight.
    pub fn product_transposed(&self, isa: Isa, weight: &Slot, dy: Mat<F>, dx: MatMut<F>) {
        let turned = Panels::new(weight.cols(), weight.rows());
        let start = |at: Option<usize>| match at {
            Some(at) => at,
            None => panic!("parameter {} keeps no transpose", weight.index()),
        };
        match &self.copies {
            Copies::Full { transposed } => {
                let at = start(weight.transposed());
                rows_product(
                    isa,
                    dy,
                    &turned,
                    &transposed[at..at + turned.len()],
                    None,
                    Activation::Identity,
                    Accum::Replace,
                    dx,
                );
            }
            Copies::Half { transposed, .. } => {
                half_product(
                    isa,
                    dy,
                    &turned,
                    &transposed[start(weight.transposed_pairs())..],
                    None,
                    Activation::Identity,
                    dx,
                );
            }
        }
    }

    /// The same parameters in the other scalar, whose products are not rounded.
    pub fn cast<G: Real>(&self) -> Params<G> {
        let len = self.tiles.transposed.end();
        let mut cast = Params {
            layout: Arc::clone(&self.layout),
            values: self.values.cast(),
            statistics: self.statistics.cast(),
            copies: Copies::Full { transposed: Aligned::zeros(len) },
            tiles: Arc::clone(&self.tiles),
            around: self.around,
        };
        cast.refresh(Par::Sequential);
        cast
    }
}

impl Params<f32> {
    /// The same values, with the operands of products rounded to `precision`.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Self {
        let Params { layout, values, statistics, tiles, around, .. } = self;
        let copies = match precision {
            Precision::F32 => Copies::Full { transposed: Aligned::zeros(tiles.transposed.end()) },
            Precision::Bf16 => Copies::Half {
                weights: Aligned::zeros(tiles.pairs.end()),
                transposed: Aligned::zeros(tiles.transposed_pairs.end()),
            },
        };
        let mut params = Params { layout, values, statistics, copies, tiles, around };
        params.refresh(Par::Sequential);
        params
    }
}

fn half_product<F: Real>(
    isa: Isa,
    x: Mat<F>,
    w: &Panels,
    packed: &[Pair],
    bias: Option<&[F]>,
    f: Activation,
    mut y: MatMut<F>,
) {
    let x = Mat::new(F::singles(x.data()), x.rows(), x.cols(), x.stride());
    let (rows, cols, stride) = (y.rows(), y.cols(), y.stride());
    let y = MatMut::new(F::singles_mut(y.data()), rows, cols, stride);
    rows_product_half(isa, x, w, &packed[..w.pairs().len()], bias.map(F::singles), f, y);
}
