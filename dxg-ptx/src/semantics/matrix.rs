//! Matrix products of a warp: `mma`, and the fragments of `wmma`.
//!
//! *Sums.* Products of 8-, 16- and 19-bit floats are exact; they and the addend are summed in `f64` in the order addend, then k
//! ascending, and rounded once to nearest. `f64` products are fused into the sum in the same order. Integers are summed exactly,
//! then wrapped or clamped.
//!
//! *Fragments of `wmma`.* PTX leaves their layout open. Here the elements of the matrix, row by row, are dealt to the lanes in
//! order, each lane getting as many as its registers hold; what is left over repeats the matrix from its start.

use super::integer::sign_extend;
use super::integer::zero_extend;
use super::narrow;
use super::soft;
use super::sparse;
use super::warp::Lanes;
use super::warp::lanes_of;
use crate::ir::Fragment;
use crate::ir::Integral;
use crate::ir::Layout;
use crate::ir::MatrixType;
use crate::ir::Round;
use crate::ir::Scalar;
use crate::ir::Space;

/// An `mma`.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    /// M, N, K.
    pub shape: [u16; 3],
    /// Layouts of A and B.
    pub layouts: [Layout; 2],
    /// Element types of D, A, B, C.
    pub types: [MatrixType; 4],
    /// How each sum of `f64` is rounded.
    pub round: Round,
    /// `.satfinite`.
    pub saturate: Integral,
    /// Of one-bit matrices: `.and.popc`.
    pub and_popc: Integral,
    /// Of a sparse A: which lanes of each four have the metadata.
    pub sparse: Option<u8>,
}

/// A `wmma.load` or `wmma.store`.
#[derive(Clone, Copy, Debug)]
pub struct Move {
    /// Which matrix.
    pub fragment: Fragment,
    /// M, N, K.
    pub shape: [u16; 3],
    /// Layout in memory.
    pub layout: Layout,
    /// Element type.
    pub ty: MatrixType,
    /// The space of the address.
    pub space: Space,
    /// Added to the address.
    pub offset: i32,
}

/// Bits of an element.
pub(super) const fn bits(ty: MatrixType) -> u32 {
    match ty {
        MatrixType::F16 | MatrixType::BF16 => 16,
        MatrixType::TF32 | MatrixType::F32 | MatrixType::S32 => 32,
        MatrixType::F64 => 64,
        MatrixType::U8 | MatrixType::S8 | MatrixType::E4M3 | MatrixType::E5M2 => 8,
        MatrixType::U4 | MatrixType::S4 => 4,
        MatrixType::B1 => 1,
    }
}

/// Elements in one register.
const fn per_register(ty: MatrixType) -> u32 {
    match bits(ty) {
        64 => 1,
        narrow => 32 / narrow,
    }
}

/// An element by its bits: a float, or a whole number.
fn value(ty: MatrixType, raw: u64) -> f64 {
    match ty {
        MatrixType::F16 => soft::to_f64(soft::F16, raw),
        MatrixType::BF16 => soft::to_f64(soft::BF16, raw),
        // The lower bits of a tf32 are ignored.
        MatrixType::TF32 => soft::to_f64(soft::F32, raw & !0x1fff),
        MatrixType::F32 => soft::to_f64(soft::F32, raw),
        MatrixType::F64 => f64::from_bits(raw),
        MatrixType::E4M3 => soft::to_f64(soft::F16, narrow::widen(Scalar::E4M3x2, raw, soft::F16)),
        MatrixType::E5M2 => soft::to_f64(soft::F16, narrow::widen(Scalar::E5M2x2, raw, soft::F16)),
        _ => whole(ty, raw) as f64,
    }
}

fn whole(ty: MatrixType, raw: u64) -> i64 {
    match ty {
        MatrixType::S32 | MatrixType::S8 | MatrixType::S4 => sign_extend(raw, bits(ty)),
        _ => raw as i64,
    }
}

fn encode(ty: MatrixType, value: f64) -> u64 {
    match ty {
        MatrixType::F16 => soft::from_f64(soft::F16, value, Round::Nearest),
        MatrixType::F64 => value.to_bits(),
        _ => soft::from_f64(soft::F32, value, Round::Nearest),
    }
}

/// A matrix by rows, elements as bits.
pub(super) struct Matrix {
    columns: usize,
    elements: Vec<u64>,
}

impl Matrix {
    pub(super) fn new([rows, columns]: [u32; 2]) -> Self {
        Self { columns: columns as usize, elements: vec![0; (rows * columns) as usize] }
    }

    fn at(&self, row: usize, column: usize) -> u64 {
        self.elements.get(row * self.columns + column).copied().unwrap_or(0)
    }

    pub(super) fn set(&mut self, [row, column]: [u32; 2], raw: u64) {
        if let Some(element) = self.elements.get_mut(row as usize * self.columns + column as usize) {
            *element = raw;
        }
    }
}

/// Where a fragment's element lies: row and column of the element of this number of a lane.
type Place = fn(&Product, u32, u32) -> [u32; 2];

fn is_quad_pair(product: &Product) -> bool {
    product.shape == [8, 8, 4] && product.types[1] == MatrixType::F16
}

/// A: each register holds neighbours in k; registers go over the lower rows first, then on in k.
fn place_a(product: &Product, lane: u32, element: u32) -> [u32; 2] {
    let width = per_register(product.types[1]);
    let (register, within) = (element / width, element % width);
    let halves = u32::from(product.shape[0]) / 8;
    [lane / 4 + 8 * (register % halves), lane % 4 * width + within + register / halves * 4 * width]
}

fn place_b(product: &Product, lane: u32, element: u32) -> [u32; 2] {
    let width = per_register(product.types[2]);
    let (register, within) = (element / width, element % width);
    [lane % 4 * width + within + register * 4 * width, lane / 4]
}

fn place_c(_: &Product, lane: u32, element: u32) -> [u32; 2] {
    [lane / 4 + 8 * (element / 2), lane % 4 * 2 + element % 2]
}

/// The `m8n8k4` of halves, which four groups of eight lanes do each for itself.
fn place_pair_a(product: &Product, lane: u32, element: u32) -> [u32; 2] {
    let upper = 4 * (lane / 16);
    match product.layouts[0] {
        Layout::Row => [lane % 4 + upper, element],
        Layout::Col => [element + upper, lane % 4],
    }
}

fn place_pair_b(product: &Product, lane: u32, element: u32) -> [u32; 2] {
    let upper = 4 * (lane / 16);
    match product.layouts[1] {
        Layout::Row => [lane % 4, element + upper],
        Layout::Col => [element, lane % 4 + upper],
    }
}

fn place_pair_c(product: &Product, lane: u32, element: u32) -> [u32; 2] {
    let upper = 4 * (lane / 16);
    if product.types[0] == MatrixType::F16 && product.types[3] == MatrixType::F16 {
        return [lane % 4 + upper, element];
    }
    [(lane & 1) + (element & 2) + upper, (element & 4) + (lane & 2) + (element & 1)]
}

fn place_pair_half(_: &Product, lane: u32, element: u32) -> [u32; 2] {
    [lane % 4 + 4 * (lane / 16), element]
}

/// The bits of an element of a lane's registers, which start at source `first`.
fn element<L: Lanes>(lanes: &L, lane: u32, first: usize, ty: MatrixType, index: u32) -> u64 {
    let width = per_register(ty);
    let word = lanes.source(lane, first + (index / width) as usize);
    match bits(ty) {
        64 => word,
        narrow => zero_extend(word >> (index % width * narrow), narrow),
    }
}

/// Writes elements of a lane as registers from destination 0.
fn scatter<L: Lanes>(lanes: &mut L, lane: u32, ty: MatrixType, elements: impl Iterator<Item = u64>) {
    let (width, narrow) = (per_register(ty), bits(ty));
    let (mut register, mut held, mut word) = (0, 0, 0);
    for part in elements {
        word |= if narrow < 64 { zero_extend(part, narrow) << (held * narrow) } else { part };
        held += 1;
        if held == width {
            lanes.set(lane, register, word);
            (register, held, word) = (register + 1, 0, 0);
        }
    }
    if held > 0 {
        lanes.set(lane, register, word);
    }
}

/// One group of lanes that multiplies.
struct Group<'p> {
    product: &'p Product,
    lanes: &'p [u32],
}

impl Group<'_> {
    fn gather<L: Lanes>(
        &self,
        lanes: &L,
        extent: [u32; 2],
        (first, ty, place): (usize, MatrixType, impl Fn(&Product, u32, u32) -> [u32; 2]),
    ) -> Matrix {
        let mut matrix = Matrix::new(extent);
        let (width, narrow) = (per_register(ty), bits(ty));
        let count = extent[0] * extent[1] / self.lanes.len() as u32;
        for &lane in self.lanes {
            for register in 0..count.div_ceil(width) {
                let mut word = lanes.source(lane, first + register as usize);
                for index in (register * width..count).take(width as usize) {
                    matrix.set(place(self.product, lane, index), zero_extend(word, narrow));
                    word = if narrow < 64 { word >> narrow } else { 0 };
                }
            }
        }
        matrix
    }

    /// Multiplies what the lanes hold, by where the elements of A, B, C and D lie.
    fn multiply<L: Lanes>(
        &self,
        mask: u32,
        lanes: &mut L,
        place_a: impl Fn(&Product, u32, u32) -> [u32; 2],
        place_b: impl Fn(&Product, u32, u32) -> [u32; 2],
        [place_c, place_d]: [impl Fn(&Product, u32, u32) -> [u32; 2]; 2],
    ) {
        let product = self.product;
        let [m, n, k] = product.shape.map(u32::from);
        let [ty_d, ty_a, ty_b, ty_c] = product.types;
        let count = self.lanes.len() as u32;
        let registers = |elements: u32, ty: MatrixType| (elements / count / per_register(ty)) as usize;
        // Of a sparse A every second element is there.
        let kept = if product.sparse.is_some() { k / 2 } else { k };
        let first_b = registers(m * kept, ty_a);
        let first_c = first_b + registers(k * n, ty_b);
        let a = self.gather(lanes, [m, kept], (0, ty_a, place_a));
        let b = self.gather(lanes, [k, n], (first_b, ty_b, place_b));
        let c = self.gather(lanes, [m, n], (first_c, ty_c, place_c));
        let metadata = first_c + registers(m * n, ty_c);
        let d = match product.sparse {
            Some(selector) => {
                let columns = sparse::columns(product, selector, |lane| lanes.source(lane, metadata));
                product_of(product, &a, &b, &c, |row, at| columns.at(row, at) as usize)
            }
            None => product_of(product, &a, &b, &c, |_, at| at),
        };
        for &lane in self.lanes.iter().filter(|&&lane| mask >> lane & 1 == 1) {
            let elements = (0..m * n / count).map(|index| {
                let [row, column] = place_d(product, lane, index);
                d.at(row as usize, column as usize)
            });
            scatter(lanes, lane, ty_d, elements);
        }
    }
}

/// Runs an `mma`.
pub fn multiply<L: Lanes>(product: &Product, mask: u32, lanes: &mut L) {
    if is_quad_pair(product) {
        let half =
            |ty: MatrixType| -> Place { if ty == MatrixType::F16 { place_pair_half } else { place_pair_c } };
        let places = [half(product.types[3]), half(product.types[0])];
        for quad in 0..4 {
            let members: [u32; 8] = std::array::from_fn(|i| quad * 4 + i as u32 % 4 + i as u32 / 4 * 16);
            let group = Group { product, lanes: &members };
            group.multiply(mask, lanes, place_pair_a, place_pair_b, places);
        }
        return;
    }
    let members: [u32; 32] = std::array::from_fn(|lane| lane as u32);
    let group = Group { product, lanes: &members };
    group.multiply(mask, lanes, place_a, place_b, [place_c, place_c]);
}

/// The product; `column_of` says where in its row an element of A belongs.
fn product_of(
    product: &Product,
    a: &Matrix,
    b: &Matrix,
    c: &Matrix,
    column_of: impl Fn(usize, usize) -> usize,
) -> Matrix {
    if product.types[0] != MatrixType::S32 && product.round == Round::Nearest {
        return sums_of(product, a, b, c, column_of);
    }
    let [m, n, _] = product.shape.map(usize::from);
    let [_, ty_a, ty_b, ty_c] = product.types;
    let mut d = Matrix::new([u32::from(product.shape[0]), u32::from(product.shape[1])]);
    for row in 0..m {
        for column in 0..n {
            let terms = (0..a.columns).map(|at| (a.at(row, at), b.at(column_of(row, at), column)));
            let start = c.at(row, column);
            let raw = if product.types[0] == MatrixType::S32 {
                let sum = terms.fold(whole(ty_c, start), |sum, (x, y)| match (ty_a, product.and_popc) {
                    (MatrixType::B1, Integral::Yes) => sum + (x & y) as i64,
                    (MatrixType::B1, Integral::No) => sum + (x ^ y) as i64,
                    _ => sum + whole(ty_a, x) * whole(ty_b, y),
                });
                match product.saturate {
                    Integral::Yes => sum.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as u64,
                    Integral::No => sum as u64,
                }
            } else {
                terms.fold(start, |sum, (x, y)| {
                    let [x, y, sum] = [x, y, sum].map(|raw| soft::unpack(soft::F64, raw));
                    soft::pack(soft::F64, soft::add(soft::mul(x, y), sum, product.round), product.round)
                })
            };
            d.set([row as u32, column as u32], raw);
        }
    }
    d
}

/// Products of floats that are rounded to nearest. Each element of A and B is made a number once, and a row of sums grows together.
fn sums_of(
    product: &Product,
    a: &Matrix,
    b: &Matrix,
    c: &Matrix,
    column_of: impl Fn(usize, usize) -> usize,
) -> Matrix {
    let [ty_d, ty_a, ty_b, ty_c] = product.types;
    let n = usize::from(product.shape[1]);
    let numbers = |ty: MatrixType, matrix: &Matrix| -> Vec<f64> {
        matrix.elements.iter().map(|&raw| value(ty, raw)).collect()
    };
    let (factors, b, mut sums) = (numbers(ty_a, a), numbers(ty_b, b), numbers(ty_c, c));
    for (number, (factors, sums)) in factors.chunks(a.columns).zip(sums.chunks_mut(n)).enumerate() {
        for (at, &x) in factors.iter().enumerate() {
            let start = column_of(number, at) * n;
            let Some(row) = b.get(start..start + n) else { continue };
            for (sum, &y) in sums.iter_mut().zip(row) {
                // The product of shorter floats is exact, and the sum the same as if it was fused.
                *sum = if ty_a == MatrixType::F64 { x.mul_add(y, *sum) } else { *sum + x * y };
            }
        }
    }
    Matrix { columns: n, elements: sums.into_iter().map(|sum| encode(ty_d, sum)).collect() }
}

/// Rows and columns of a fragment's matrix.
fn extent(fragment: Fragment, shape: [u16; 3]) -> [u32; 2] {
    let [m, n, k] = shape.map(u32::from);
    match fragment {
        Fragment::A => [m, k],
        Fragment::B => [k, n],
        Fragment::C | Fragment::D => [m, n],
    }
}

/// Elements that a lane holds of a fragment.
fn held(fragment: Fragment, ty: MatrixType, shape: [u16; 3]) -> u32 {
    let [rows, columns] = extent(fragment, shape);
    match (fragment, ty) {
        // Always eight registers.
        (Fragment::A | Fragment::B, MatrixType::F16) => 16,
        _ => (rows * columns / 32).max(per_register(ty)),
    }
}

/// The matrix of a fragment whose registers start at source `first`.
fn assemble<L: Lanes>(
    lanes: &L,
    first: usize,
    fragment: Fragment,
    ty: MatrixType,
    shape: [u16; 3],
) -> Matrix {
    let [rows, columns] = extent(fragment, shape);
    let held = held(fragment, ty, shape);
    let mut matrix = Matrix::new([rows, columns]);
    for index in 0..rows * columns {
        let raw = element(lanes, index / held, first, ty, index % held);
        matrix.set([index / columns, index % columns], raw);
    }
    matrix
}

fn distribute<L: Lanes>(lanes: &mut L, mask: u32, held: u32, ty: MatrixType, matrix: &Matrix) {
    let total = matrix.elements.len();
    for lane in lanes_of(mask) {
        let start = (lane * held) as usize;
        let elements = (start..start + held as usize)
            .map(|index| matrix.elements.get(index % total.max(1)).copied().unwrap_or(0));
        scatter(lanes, lane, ty, elements);
    }
}

/// Runs a `wmma.mma`.
pub fn multiply_fragments<L: Lanes>(product: &Product, mask: u32, lanes: &mut L) {
    let shape = product.shape;
    let [ty_d, ty_a, ty_b, ty_c] = product.types;
    let registers =
        |fragment: Fragment, ty: MatrixType| (held(fragment, ty, shape) / per_register(ty)) as usize;
    let first_b = registers(Fragment::A, ty_a);
    let first_c = first_b + registers(Fragment::B, ty_b);
    let a = assemble(lanes, 0, Fragment::A, ty_a, shape);
    let b = assemble(lanes, first_b, Fragment::B, ty_b, shape);
    let c = assemble(lanes, first_c, Fragment::C, ty_c, shape);
    let d = product_of(product, &a, &b, &c, |_, at| at);
    distribute(lanes, mask, held(Fragment::D, ty_d, shape), ty_d, &d);
}

impl Move {
    /// The address of an element, and the bit within its byte.
    fn address(&self, base: u64, stride: u64, [row, column]: [u32; 2]) -> (u64, u64) {
        let [row, column] = [row, column].map(u64::from);
        let index = match self.layout {
            Layout::Row => row.wrapping_mul(stride).wrapping_add(column),
            Layout::Col => column.wrapping_mul(stride).wrapping_add(row),
        };
        let bit = index.wrapping_mul(u64::from(bits(self.ty)));
        (base.wrapping_add_signed(i64::from(self.offset)).wrapping_add(bit / 8), bit % 8)
    }
}

/// Runs a `wmma.load`.
///
/// # Errors
/// An access failed.
pub fn load<L: Lanes>(what: &Move, mask: u32, lanes: &mut L) -> Result<(), L::Error> {
    let Some(leader) = lanes_of(mask).next() else { return Ok(()) };
    let (base, stride) = (lanes.source(leader, 0), zero_extend(lanes.source(leader, 1), 32));
    let [rows, columns] = extent(what.fragment, what.shape);
    let mut matrix = Matrix::new([rows, columns]);
    for index in 0..rows * columns {
        let place = [index / columns, index % columns];
        let (address, bit) = what.address(base, stride, place);
        let raw = lanes.load(leader, what.space, address, bits(what.ty).div_ceil(8))?;
        matrix.set(place, zero_extend(raw >> bit, bits(what.ty)));
    }
    distribute(lanes, mask, held(what.fragment, what.ty, what.shape), what.ty, &matrix);
    Ok(())
}

/// Runs a `wmma.store`.
///
/// # Errors
/// An access failed.
pub fn store<L: Lanes>(what: &Move, mask: u32, lanes: &mut L) -> Result<(), L::Error> {
    let Some(leader) = lanes_of(mask).next() else { return Ok(()) };
    let (base, stride) = (lanes.source(leader, 0), zero_extend(lanes.source(leader, 1), 32));
    let matrix = assemble(lanes, 2, Fragment::D, what.ty, what.shape);
    let [rows, columns] = extent(Fragment::D, what.shape);
    for index in 0..rows * columns {
        let place = [index / columns, index % columns];
        let (address, _) = what.address(base, stride, place);
        let raw = matrix.at(place[0] as usize, place[1] as usize);
        lanes.store(leader, what.space, address, bits(what.ty).div_ceil(8), raw)?;
    }
    Ok(())
}
