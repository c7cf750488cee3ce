//! Matrix operations of a warp on registers of known layout.

use crate::front::Parser;
use crate::front::Result;
use crate::front::operand::Arg;
use crate::front::operand::Instruction;
use crate::ir::Address;
use crate::ir::Base;
use crate::ir::Integral;
use crate::ir::Layout;
use crate::ir::MatrixType;
use crate::ir::Op;
use crate::ir::Operand;
use crate::ir::Scalar;
use crate::ir::Space;
use crate::ir::WarpOp;

pub(super) fn matrix_type(name: &str) -> Option<MatrixType> {
    Some(match name {
        "f16" => MatrixType::F16,
        "bf16" => MatrixType::BF16,
        "tf32" => MatrixType::TF32,
        "f32" => MatrixType::F32,
        "f64" => MatrixType::F64,
        "u8" => MatrixType::U8,
        "s8" => MatrixType::S8,
        "u4" => MatrixType::U4,
        "s4" => MatrixType::S4,
        "b1" => MatrixType::B1,
        "s32" => MatrixType::S32,
        "e4m3" => MatrixType::E4M3,
        "e5m2" => MatrixType::E5M2,
        _ => return None,
    })
}

/// Bits of an element.
pub(super) fn element_bits(ty: MatrixType) -> u32 {
    match ty {
        MatrixType::B1 => 1,
        MatrixType::U4 | MatrixType::S4 => 4,
        MatrixType::U8 | MatrixType::S8 | MatrixType::E4M3 | MatrixType::E5M2 => 8,
        MatrixType::F16 | MatrixType::BF16 => 16,
        MatrixType::TF32 | MatrixType::F32 | MatrixType::S32 => 32,
        MatrixType::F64 => 64,
    }
}

/// The register that holds elements of a type.
pub(super) fn register(ty: MatrixType) -> Scalar {
    match ty {
        MatrixType::F64 => Scalar::F64,
        MatrixType::F32 => Scalar::F32,
        _ => Scalar::B32,
    }
}

/// Registers of a lane that hold so many elements of a matrix.
pub(super) fn registers(rows: u16, columns: u16, ty: MatrixType) -> usize {
    let bits = u32::from(rows) * u32::from(columns) * element_bits(ty) / 32;
    let each = if ty == MatrixType::F64 { 64 } else { 32 };
    usize::try_from(bits.div_ceil(each)).unwrap_or(0)
}

/// `m16n8k16` and the like.
pub(super) fn shape(word: &str) -> Option<[u16; 3]> {
    let (m, rest) = word.strip_prefix('m')?.split_once('n')?;
    let (n, k) = rest.split_once('k')?;
    Some([m.parse().ok()?, n.parse().ok()?, k.parse().ok()?])
}

pub(super) fn layout(ins: &mut Instruction<'_>) -> Option<Layout> {
    ins.words.choose(&[("row", Layout::Row), ("col", Layout::Col)])
}

pub(super) fn integral(is_set: bool) -> Integral {
    if is_set { Integral::Yes } else { Integral::No }
}

/// The shapes of `mma` with the types of A and B.
fn is_mma_shape(shape: [u16; 3], a: MatrixType, b: MatrixType) -> bool {
    use MatrixType::B1;
    use MatrixType::BF16;
    use MatrixType::E4M3;
    use MatrixType::E5M2;
    use MatrixType::F16;
    use MatrixType::F64;
    use MatrixType::S4;
    use MatrixType::S8;
    use MatrixType::TF32;
    use MatrixType::U4;
    use MatrixType::U8;
    match (a, b) {
        (F16, F16) => matches!(shape, [8, 8, 4] | [16, 8, 8 | 16]),
        (BF16, BF16) => matches!(shape, [16, 8, 8 | 16]),
        (TF32, TF32) => matches!(shape, [16, 8, 4 | 8]),
        (F64, F64) => matches!(shape, [8, 8, 4] | [16, 8, 4 | 8 | 16]),
        (U8 | S8, U8 | S8) => matches!(shape, [8, 8, 16] | [16, 8, 16 | 32]),
        (U4 | S4, U4 | S4) => matches!(shape, [8, 8, 32] | [16, 8, 32 | 64]),
        (B1, B1) => matches!(shape, [8, 8, 128] | [16, 8, 128 | 256]),
        (E4M3 | E5M2, E4M3 | E5M2) => matches!(shape, [16, 8, 16 | 32]),
        _ => false,
    }
}

/// The shapes of `mma.sp` with the types of A and B, and the greatest selector of each.
fn sparse_selectors(shape: [u16; 3], a: MatrixType, b: MatrixType) -> Option<u8> {
    use MatrixType as T;
    let [16, 8, k] = shape else { return None };
    Some(match (a, b, k) {
        (T::F16, T::F16, 16) | (T::BF16, T::BF16, 16) | (T::TF32, T::TF32, 8) => 3,
        (T::F16, T::F16, 32) | (T::BF16, T::BF16, 32) | (T::TF32, T::TF32, 16) => 1,
        (T::U8 | T::S8, T::U8 | T::S8, 32) | (T::U4 | T::S4, T::U4 | T::S4, 64) => 1,
        (T::U8 | T::S8, T::U8 | T::S8, 64) | (T::U4 | T::S4, T::U4 | T::S4, 128) => 0,
        (T::E4M3 | T::E5M2, T::E4M3 | T::E5M2, 64) => 0,
        _ => return None,
    })
}

/// Takes the numbers of registers of D, A, B and C; A has every second element if it is sparse.
fn mma_registers(shape: [u16; 3], types: [MatrixType; 4], is_sparse: bool) -> [usize; 4] {
    let [m, n, k] = shape;
    if shape == [8, 8, 4] && types[1] == MatrixType::F16 {
        // Four products at once, one for each quad pair: C and D have four times as many elements as one product.
        let of = |ty| if ty == MatrixType::F32 { 8 } else { 4 };
        return [of(types[0]), 2, 2, of(types[3])];
    }
    let kept = if is_sparse { k / 2 } else { k };
    [
        registers(m, n, types[0]),
        registers(m, kept, types[1]),
        registers(k, n, types[2]),
        registers(m, n, types[3]),
    ]
}

pub(in crate::front) fn mma<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let kinds = ["block_scale", "kind::f8f6f4", "kind::mxf8f6f4", "kind::mxf4", "kind::mxf4nvf4"];
    if let Some(word) = kinds.into_iter().find(|word| ins.words.sees(word)) {
        return Err(ins.refuse(format!("is not supported with `.{word}`, which is of later devices")));
    }
    let is_sparse = ins.words.has("sp") || ins.words.has("sp::ordered_metadata");
    ins.words.has("sync");
    ins.words.has("aligned");
    let shape = ins.words.read(shape).ok_or_else(|| ins.fail("needs a shape"))?;
    let (Some(first), Some(second)) = (layout(ins), layout(ins)) else {
        return Err(ins.fail("needs two layouts"));
    };
    let saturate = integral(ins.words.has("satfinite"));
    let types = types(ins)?;
    let and_popc = bit_operation(ins, types[1])?;
    ins.words.finish(ins.opcode)?;
    let selectors = if is_sparse { sparse_selectors(shape, types[1], types[2]) } else { None };
    if is_sparse && selectors.is_none() || !is_sparse && !is_mma_shape(shape, types[1], types[2]) {
        return Err(ins.fail("has no such shape of these types"));
    }
    let count = if is_sparse { 6 } else { 4 };
    ins.count(count, count)?;
    let is_quad = shape == [8, 8, 4] && types[1] == MatrixType::F16;
    if !is_quad && [first, second] != [Layout::Row, Layout::Col] {
        return Err(ins.fail("of these types multiplies `.row` by `.col`"));
    }
    if saturate == Integral::Yes && (types[0] != MatrixType::S32 || types[1] == MatrixType::B1) {
        return Err(ins.fail("does not take `.satfinite` with these types"));
    }
    let counts = mma_registers(shape, types, is_sparse);
    let dsts = p.lane_dsts(ins, 0, counts[0], register(types[0]))?;
    let mut srcs = Vec::with_capacity(counts[1] + counts[2] + counts[3] + 1);
    for (index, (&count, &ty)) in counts.iter().zip(&types).enumerate().skip(1) {
        srcs.extend(p.lane_values(ins, index, count, register(ty))?);
    }
    let sparse = match selectors {
        Some(most) => {
            srcs.push(p.value(ins, 4, Scalar::B32)?);
            Some(selector(ins, most)?)
        }
        None => None,
    };
    let op = WarpOp::Mma { shape, layouts: [first, second], types, saturate, and_popc, sparse };
    p.emit(ins, Op::Warp { op, mask: None, dsts, srcs });
    Ok(())
}

/// The selector of lanes with metadata: a number up to another one.
fn selector(ins: &Instruction<'_>, most: u8) -> Result<u8> {
    let number = match ins.piece(5)?.arg {
        Arg::Literal(literal) => literal.integer().and_then(|number| u8::try_from(number).ok()),
        _ => None,
    };
    number.filter(|&number| number <= most).ok_or_else(|| ins.bad(5, format!("is a number up to {most}")))
}

/// The four element types: of D, A, B and C.
fn types(ins: &mut Instruction<'_>) -> Result<[MatrixType; 4]> {
    let mut types = [MatrixType::F16; 4];
    for ty in &mut types {
        *ty = ins.words.read(matrix_type).ok_or_else(|| ins.fail("needs four element types"))?;
    }
    let [d, a, _, c] = types;
    use MatrixType as T;
    let fits = match a {
        T::F16 | T::E4M3 | T::E5M2 => matches!((d, c), (T::F16 | T::F32, T::F16 | T::F32)),
        T::BF16 | T::TF32 => d == T::F32 && c == T::F32,
        T::F64 => d == T::F64 && c == T::F64,
        T::U8 | T::S8 | T::U4 | T::S4 | T::B1 => d == T::S32 && c == T::S32,
        T::F32 | T::S32 => false,
    };
    if fits { Ok(types) } else { Err(ins.fail("does not take these types")) }
}

/// How bits are combined, which only one-bit matrices say.
fn bit_operation(ins: &mut Instruction<'_>, a: MatrixType) -> Result<Integral> {
    if a != MatrixType::B1 {
        return Ok(Integral::No);
    }
    let is_and = ins.words.choose(&[("and", true), ("xor", false)]);
    let (Some(is_and), true) = (is_and, ins.words.has("popc")) else {
        return Err(ins.fail("of bits needs `.xor.popc` or `.and.popc`"));
    };
    Ok(integral(is_and))
}

/// An address of a matrix: a register and what is added to it.
pub(super) fn place<'a>(
    p: &mut Parser<'a>,
    ins: &Instruction<'a>,
    index: usize,
    space: Space,
) -> Result<(Space, Operand, i32)> {
    let (space, address) = p.memory(ins, index, space)?;
    let Address { base, offset } = address;
    let (src, rest) = match base {
        Base::Reg(reg) => (Operand::Reg(reg), offset),
        Base::Zero => (Operand::Imm(offset.cast_unsigned()), 0),
        Base::Symbol(symbol) => {
            let dst = p.code.temp(Scalar::B64);
            p.code.push(None, Op::AddressOf { dst, symbol, offset }, ins.place);
            (Operand::Reg(dst), 0)
        }
    };
    let rest = i32::try_from(rest).map_err(|_| ins.bad(index, "is too far from its base"))?;
    if !matches!(space, Space::Generic | Space::Global | Space::Shared) {
        return Err(ins.bad(index, "is neither global nor shared"));
    }
    Ok((space, src, rest))
}

/// What `ldmatrix` and `stmatrix` say.
struct Tiles {
    count: u8,
    transpose: Layout,
    space: Space,
}

fn tiles<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<Tiles> {
    ins.words.has("sync");
    ins.words.has("aligned");
    if !ins.words.has("m8n8") {
        return Err(ins.refuse("is supported with `.m8n8` only; other shapes are of later devices"));
    }
    let count =
        ins.words.choose(&[("x1", 1), ("x2", 2), ("x4", 4)]).ok_or_else(|| ins.fail("needs a count"))?;
    let transpose = if ins.words.has("trans") { Layout::Col } else { Layout::Row };
    let space = p.space(ins)?.unwrap_or(Space::Shared);
    if p.ty(ins)? != Scalar::B16 {
        return Err(ins.refuse("is supported with `.b16` only"));
    }
    ins.words.finish(ins.opcode)?;
    ins.count(2, 2)?;
    if space != Space::Shared {
        return Err(ins.fail("works on shared memory"));
    }
    Ok(Tiles { count, transpose, space })
}

pub(in crate::front) fn ldmatrix<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let Tiles { count, transpose, space } = tiles(p, ins)?;
    let dsts = p.lane_dsts(ins, 0, usize::from(count), Scalar::B32)?;
    let (space, src, offset) = place(p, ins, 1, space)?;
    let op = WarpOp::LdMatrix { count, transpose, space, offset };
    p.emit(ins, Op::Warp { op, mask: None, dsts, srcs: vec![src] });
    Ok(())
}

pub(in crate::front) fn stmatrix<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let Tiles { count, transpose, space } = tiles(p, ins)?;
    let (space, src, offset) = place(p, ins, 0, space)?;
    let mut srcs = vec![src];
    srcs.extend(p.lane_values(ins, 1, usize::from(count), Scalar::B32)?);
    let op = WarpOp::StMatrix { count, transpose, space, offset };
    p.emit(ins, Op::Warp { op, mask: None, dsts: Vec::new(), srcs });
    Ok(())
}

pub(in crate::front) fn movmatrix<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    for word in ["sync", "aligned", "m8n8", "trans", "b16"] {
        if !ins.words.has(word) {
            return Err(ins.fail(format!("needs `.{word}`")));
        }
    }
    ins.words.finish(ins.opcode)?;
    ins.count(2, 2)?;
    let dsts = vec![p.dst(ins, 0, Scalar::B32)?];
    let srcs = vec![p.value(ins, 1, Scalar::B32)?];
    p.emit(ins, Op::Warp { op: WarpOp::MovMatrix, mask: None, dsts, srcs });
    Ok(())
}
