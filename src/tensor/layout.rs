//! Flat state: every parameter of a model in one slab, its gradient in a second, its moments in two more.
//!
//! A layer holds [`Slot`]s, never data. A slot knows its shape and its place; weights are stored in the order of
//! [`Panels`], which only this file packs and unpacks: files and checks see plain rows and columns.

use super::{Mask, Real};
use crate::layer::Init;
use elbo_kernels::panels::Panels;
use elbo_kernels::{Aligned, Element};
use ndarray::Array2;

/// Where a parameter lies: `rows × cols` at an offset of a slab. A weight is (in, out), a bias (1, out).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    index: usize,
    offset: usize,
    copies: Copies,
    panels: Panels,
}

/// Where a weight's copies start, each in its own slab, if it has them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Copies {
    transposed: Option<usize>,
    pairs: Option<usize>,
    transposed_pairs: Option<usize>,
}

impl Slot {
    /// Its number in the layout.
    pub fn index(&self) -> usize {
        self.index
    }
    /// Its storage order.
    pub fn panels(&self) -> &Panels {
        &self.panels
    }
    /// Rows: a weight's inputs.
    pub fn rows(&self) -> usize {
        self.panels.rows()
    }
    /// Columns: a weight's outputs.
    pub fn cols(&self) -> usize {
        self.panels.cols()
    }
    /// Real elements, without padding.
    pub fn count(&self) -> usize {
        self.rows() * self.cols()
    }
    /// Whether a transposed copy is kept, for the gradient of the layer's input.
    pub fn has_transpose(&self) -> bool {
        self.copies.transposed.is_some()
    }
    pub(super) fn transposed(&self) -> Option<usize> {
        self.copies.transposed
    }
    pub(super) fn pairs(&self) -> Option<usize> {
        self.copies.pairs
    }
    pub(super) fn transposed_pairs(&self) -> Option<usize> {
        self.copies.transposed_pairs
    }
    /// Its range of the slab, padding included.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.panels.len()
    }
}

/// One parameter's entry in a [`Layout`].
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    /// Its name in files, such as `encoder.0.weight`.
    pub name: String,
    /// Its shape and place.
    pub slot: Slot,
    /// How it starts.
    pub init: Init,
    /// Whether it is a vector: a bias, a gain, a log-variance.
    pub vector: bool,
    /// Which entries of a weight are there, if not all.
    pub mask: Option<Mask>,
}

impl Entry {
    /// Its shape in files: (out, in), or (out) for a vector.
    pub fn shape(&self) -> Vec<usize> {
        if self.vector { vec![self.slot.cols()] } else { vec![self.slot.cols(), self.slot.rows()] }
    }
}

/// The names, shapes and places of a model's parameters, in canonical order.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Layout {
    entries: Vec<Entry>,
    path: Vec<String>,
    len: usize,
    copies_len: CopiesLen,
    transposes: bool,
    statistics: Option<Box<Layout>>,
}

/// Elements of the slabs of copies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct CopiesLen {
    pub transposed: usize,
    pairs: usize,
    transposed_pairs: usize,
}

impl Layout {
    /// An empty layout.
    pub fn new() -> Self {
        Layout { transposes: true, ..Layout::default() }
    }
    /// Adds what `f` adds, with `name` before its parameters' names.
    pub fn scope<R>(&mut self, name: impl ToString, f: impl FnOnce(&mut Self) -> R) -> R {
        self.path.push(name.to_string());
        let out = f(self);
        self.path.pop();
        out
    }
    /// Adds what `f` adds without the transposed copies that an input's gradient needs: for a layer whose input
    /// nobody differentiates.
    pub fn without_input_gradient<R>(&mut self, f: impl FnOnce(&mut Self) -> R) -> R {
        let before = std::mem::replace(&mut self.transposes, false);
        let out = f(self);
        self.transposes = before;
        out
    }
    fn push(&mut self, name: &str, (rows, cols): (usize, usize), init: Init, vector: bool) -> Slot {
        let (panels, turned) = (Panels::new(rows, cols), Panels::new(cols, rows));
        let lens = &mut self.copies_len;
        let next = |wanted: bool, end: &mut usize, len: usize| {
            let start = *end;
            wanted.then(|| {
                *end += len;
                start
            })
        };
        let transposes = self.transposes && !vector;
        let copies = Copies {
            transposed: next(transposes, &mut lens.transposed, turned.len()),
            pairs: next(!vector, &mut lens.pairs, panels.pairs().len()),
            transposed_pairs: next(transposes, &mut lens.transposed_pairs, turned.pairs().len()),
        };
        let slot = Slot { index: self.entries.len(), offset: self.len, copies, panels };
        self.len += panels.len();
        let path: Vec<&str> = self.path.iter().map(String::as_str).chain([name]).collect();
        self.entries.push(Entry { name: path.join("."), slot, init, vector, mask: None });
        slot
    }
    /// Adds a weight of `inputs × outputs`.
    pub fn weight(&mut self, name: &str, inputs: usize, outputs: usize, init: Init) -> Slot {
        self.push(name, (inputs, outputs), init, false)
    }
    /// The same, of which only the entries of a mask are there.
    pub fn masked_weight(&mut self, name: &str, inputs: usize, outputs: usize, init: Init, mask: Mask) -> Slot {
        let slot = self.weight(name, inputs, outputs, init);
        self.entries[slot.index].mask = Some(mask);
        slot
    }
    /// Adds a vector: a bias, a gain, a log-variance.
    pub fn vector(&mut self, name: &str, len: usize, init: Init) -> Slot {
        self.push(name, (1, len), init, true)
    }
    /// Adds a vector that is part of the model and no parameter, for no gradient moves it: what is counted from the data. Its
    /// slot is of the layout of [statistics](Self::statistics).
    pub fn statistic(&mut self, name: &str, len: usize, init: Init) -> Slot {
        let statistics = self.statistics.get_or_insert_with(Box::default);
        statistics.path.clone_from(&self.path);
        statistics.vector(name, len, init)
    }
    /// What is part of the model besides the parameters, if anything: it has a slab of its own, so that whatever goes over the
    /// parameters leaves it alone.
    pub fn statistics(&self) -> Option<&Layout> {
        self.statistics.as_deref()
    }
    /// The parameters, in canonical order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
    /// The entry of a name.
    pub fn find(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|e| e.name == name)
    }
    /// Elements of a slab, padding included.
    pub fn len(&self) -> usize {
        self.len
    }
    /// Whether there are no parameters.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
    pub(super) fn copies_len(&self) -> CopiesLen {
        self.copies_len
    }
    /// Real parameters, without padding.
    pub fn count(&self) -> usize {
        self.entries.iter().map(|e| e.slot.count()).sum()
    }
}

/// One number for each parameter of a layout: values, gradients or moments.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Slab<F> {
    data: Aligned<F>,
}

impl<F: Real> Slab<F> {
    /// Zeros.
    pub fn zeros(layout: &Layout) -> Self {
        Slab { data: Aligned::zeros(layout.len()) }
    }
    /// All of it, in storage order, padding included.
    pub fn data(&self) -> &[F] {
        &self.data
    }
    /// As [`data`](Self::data), to be written. Padding must stay zero.
    pub fn data_mut(&mut self) -> &mut [F] {
        &mut self.data
    }
    /// A slot's part, in storage order.
    pub fn slot(&self, slot: &Slot) -> &[F] {
        &self.data[slot.range()]
    }
    /// A slot's element.
    pub fn get(&self, slot: &Slot, row: usize, col: usize) -> F {
        self.data[slot.offset + slot.panels.index(row, col)]
    }
    /// Sets a slot's element.
    pub fn set(&mut self, slot: &Slot, row: usize, col: usize, value: F) {
        self.data[slot.offset + slot.panels.index(row, col)] = value;
    }
    /// One row of a slot, of as many columns as it has.
    pub fn row_into(&self, slot: &Slot, row: usize, out: &mut [F]) {
        for j in 0..slot.panels.count() {
            let panel = slot.panels.panel(j);
            let len = panel.width.min(slot.cols() - panel.col);
            let at = slot.offset + panel.offset + row * panel.width;
            out[panel.col..][..len].copy_from_slice(&self.data[at..at + len]);
        }
    }
    /// A slot as plain (out, in) rows and columns, PyTorch's layout of a weight; a vector as (out, 1).
    pub fn unpack(&self, slot: &Slot) -> Array2<F> {
        let mut out = Array2::default((slot.cols(), slot.rows()));
        let data = out.as_slice_mut().unwrap_or_default();
        slot.panels.unpack(self.slot(slot), [1, slot.rows()], data);
        out
    }
    /// The inverse of [`unpack`](Self::unpack), from a slice in (out, in) order. Panics when its length is not the slot's.
    pub fn pack(&mut self, slot: &Slot, plain: &[F]) {
        assert_eq!(plain.len(), slot.count(), "a slot of {}×{}", slot.rows(), slot.cols());
        slot.panels.pack(plain, [1, slot.rows()], &mut self.data[slot.range()]);
    }
    /// The same numbers in the other scalar.
    pub fn cast<G: Real>(&self) -> Slab<G> {
        Slab { data: self.data.iter().map(|x| G::from_f64(Element::to_f64(*x))).collect() }
    }
}
