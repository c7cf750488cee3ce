//! Matrix operations of a warp.

use crate::front::Parser;
use crate::front::Result;
use crate::front::operand::Instruction;
use crate::ir::Address;
use crate::ir::Base;
use crate::ir::Fragment;
use crate::ir::Integral;
use crate::ir::Layout;
use crate::ir::MatrixType;
use crate::ir::Op;
use crate::ir::Operand;
use crate::ir::Round;
use crate::ir::Scalar;
use crate::ir::Space;
use crate::ir::WarpOp;

fn matrix_type(name: &str) -> Option<MatrixType> {
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
fn element_bits(ty: MatrixType) -> u32 {
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
fn register(ty: MatrixType) -> Scalar {
    match ty {
        MatrixType::F64 => Scalar::F64,
        MatrixType::F32 => Scalar::F32,
        _ => Scalar::B32,
    }
}

/// Registers of a lane that hold so many elements of a matrix.
fn registers(rows: u16, columns: u16, ty: MatrixType) -> usize {
    let bits = u32::from(rows) * u32::from(columns) * element_bits(ty) / 32;
    let each = if ty == MatrixType::F64 { 64 } else { 32 };
    usize::try_from(bits.div_ceil(each)).unwrap_or(0)
}

/// `m16n8k16` and the like.
fn shape(word: &str) -> Option<[u16; 3]> {
    let (m, rest) = word.strip_prefix('m')?.split_once('n')?;
    let (n, k) = rest.split_once('k')?;
    Some([m.parse().ok()?, n.parse().ok()?, k.parse().ok()?])
}

fn layout(ins: &mut Instruction<'_>) -> Option<Layout> {
    ins.words.choose(&[("row", Layout::Row), ("col", Layout::Col)])
}

fn integral(is_set: bool) -> Integral {
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

pub(in crate::front) fn mma<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let kind = ["sp", "sp::ordered_metadata", "block_scale", "kind::f8f6f4", "kind::mxf8f6f4", "kind::mxf4"];
    if let Some(word) = kind.into_iter().find(|word| ins.words.sees(word)) {
        return Err(ins.refuse(format!("is not supported with `.{word}`, which is of later devices")));
    }
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
    ins.count(4, 4)?;
    if !is_mma_shape(shape, types[1], types[2]) {
        return Err(ins.fail("has no such shape of these types"));
    }
    let is_quad = shape == [8, 8, 4] && types[1] == MatrixType::F16;
    if !is_quad && [first, second] != [Layout::Row, Layout::Col] {
        return Err(ins.fail("of these types multiplies `.row` by `.col`"));
    }
    if saturate == Integral::Yes && (types[0] != MatrixType::S32 || types[1] == MatrixType::B1) {
        return Err(ins.fail("does not take `.satfinite` with these types"));
    }
    let counts = if is_quad {
        // Four products at once, one for each quad pair: C and D have four times as many elements as one product.
        let of = |ty| if ty == MatrixType::F32 { 8 } else { 4 };
        [of(types[0]), 2, 2, of(types[3])]
    } else {
        [
            registers(shape[0], shape[1], types[0]),
            registers(shape[0], shape[2], types[1]),
            registers(shape[2], shape[1], types[2]),
            registers(shape[0], shape[1], types[3]),
        ]
    };
    let dsts = p.lane_dsts(ins, 0, counts[0], register(types[0]))?;
    let mut srcs = Vec::with_capacity(counts[1] + counts[2] + counts[3]);
    for (index, (&count, &ty)) in counts.iter().zip(&types).enumerate().skip(1) {
        srcs.extend(p.lane_values(ins, index, count, register(ty))?);
    }
    let op = WarpOp::Mma { shape, layouts: [first, second], types, saturate, and_popc };
    p.emit(ins, Op::Warp { op, mask: None, dsts, srcs });
    Ok(())
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
fn place<'a>(
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

/// The shapes of `wmma` with the types of A and B.
fn is_wmma_shape(shape: [u16; 3], a: MatrixType) -> bool {
    match a {
        MatrixType::F16 | MatrixType::BF16 | MatrixType::U8 | MatrixType::S8 => {
            matches!(shape, [16, 16, 16] | [8, 32, 16] | [32, 8, 16])
        }
        MatrixType::TF32 => shape == [16, 16, 8],
        MatrixType::F64 => shape == [8, 8, 4],
        MatrixType::U4 | MatrixType::S4 => shape == [8, 8, 32],
        MatrixType::B1 => shape == [8, 8, 128],
        _ => false,
    }
}

/// Registers of a fragment of `wmma`; halves of A and B are held twice.
fn fragment_registers(shape: [u16; 3], fragment: Fragment, ty: MatrixType) -> usize {
    let [m, n, k] = shape;
    match (fragment, ty) {
        (Fragment::A | Fragment::B, MatrixType::F16) => 8,
        (Fragment::A, _) => registers(m, k, ty),
        (Fragment::B, _) => registers(k, n, ty),
        (Fragment::C | Fragment::D, _) => registers(m, n, ty),
    }
}

pub(in crate::front) fn wmma<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    ins.words.has("sync");
    ins.words.has("aligned");
    if ins.words.has("load") {
        return wmma_load(p, ins);
    }
    if ins.words.has("store") {
        return wmma_store(p, ins);
    }
    if ins.words.has("mma") {
        return wmma_mma(p, ins);
    }
    Err(ins.fail("needs `.load`, `.store` or `.mma`"))
}

/// What a load or a store of a fragment says.
struct Moved {
    fragment: Fragment,
    shape: [u16; 3],
    layout: Layout,
    ty: MatrixType,
    space: Space,
}

fn moved<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<Moved> {
    let fragment =
        ins.words.choose(&[("a", Fragment::A), ("b", Fragment::B), ("c", Fragment::C), ("d", Fragment::D)]);
    let fragment = fragment.ok_or_else(|| ins.fail("needs a matrix"))?;
    let shape = ins.words.read(shape).ok_or_else(|| ins.fail("needs a shape"))?;
    let layout = layout(ins).ok_or_else(|| ins.fail("needs a layout"))?;
    let space = p.space(ins)?.unwrap_or(Space::Generic);
    let ty = ins.words.read(matrix_type).ok_or_else(|| ins.fail("needs an element type"))?;
    ins.words.finish(ins.opcode)?;
    let is_known = match fragment {
        Fragment::A | Fragment::B => is_wmma_shape(shape, ty),
        Fragment::C | Fragment::D => match ty {
            MatrixType::F16 => is_wmma_shape(shape, MatrixType::F16),
            MatrixType::F32 => is_wmma_shape(shape, MatrixType::F16) || shape == [16, 16, 8],
            MatrixType::S32 => is_wmma_shape(shape, MatrixType::U8) || matches!(shape, [8, 8, 32 | 128]),
            MatrixType::F64 => shape == [8, 8, 4],
            _ => false,
        },
    };
    if !is_known {
        return Err(ins.fail("has no such shape of these types"));
    }
    check_small_layout(ins, ty, fragment, layout)?;
    Ok(Moved { fragment, shape, layout, ty, space })
}

/// Matrices of less than 8 bits an element lie in memory in one way.
fn check_small_layout(
    ins: &Instruction<'_>,
    ty: MatrixType,
    fragment: Fragment,
    layout: Layout,
) -> Result<()> {
    let want = if fragment == Fragment::A { Layout::Row } else { Layout::Col };
    if element_bits(ty) < 8 && layout != want {
        return Err(ins.fail("of these types has `.a` in `.row` and `.b` in `.col`"));
    }
    Ok(())
}

/// The distance of rows or columns: as it is written, or what the shape says.
fn stride<'a>(p: &mut Parser<'a>, ins: &Instruction<'a>, moved: &Moved) -> Result<Operand> {
    if ins.args.len() == 3 {
        return p.value(ins, 2, Scalar::U32);
    }
    let [m, n, k] = moved.shape;
    let (rows, columns) = match moved.fragment {
        Fragment::A => (m, k),
        Fragment::B => (k, n),
        Fragment::C | Fragment::D => (m, n),
    };
    Ok(Operand::Imm(u64::from(if moved.layout == Layout::Row { columns } else { rows })))
}

fn wmma_load<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let moved = moved(p, ins)?;
    ins.count(2, 3)?;
    let Moved { fragment, shape, layout, ty, .. } = moved;
    let count = fragment_registers(shape, fragment, ty);
    let dsts = p.lane_dsts(ins, 0, count, register(ty))?;
    let (space, src, offset) = place(p, ins, 1, moved.space)?;
    let srcs = vec![src, stride(p, ins, &moved)?];
    let op = WarpOp::WmmaLoad { fragment, shape, layout, ty, space, offset };
    p.emit(ins, Op::Warp { op, mask: None, dsts, srcs });
    Ok(())
}

fn wmma_store<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let moved = moved(p, ins)?;
    ins.count(2, 3)?;
    let Moved { fragment, shape, layout, ty, .. } = moved;
    if fragment != Fragment::D {
        return Err(ins.fail("stores the matrix `.d`"));
    }
    let (space, src, offset) = place(p, ins, 0, moved.space)?;
    let mut srcs = vec![src, stride(p, ins, &moved)?];
    srcs.extend(p.lane_values(ins, 1, fragment_registers(shape, fragment, ty), register(ty))?);
    let op = WarpOp::WmmaStore { shape, layout, ty, space, offset };
    p.emit(ins, Op::Warp { op, mask: None, dsts: Vec::new(), srcs });
    Ok(())
}

fn wmma_mma<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let is_and = ins.words.choose(&[("and", true), ("xor", false)]);
    let is_popc = ins.words.has("popc");
    let (Some(first), Some(second)) = (layout(ins), layout(ins)) else {
        return Err(ins.fail("needs two layouts"));
    };
    let shape = ins.words.read(shape).ok_or_else(|| ins.fail("needs a shape"))?;
    let round = ins.words.round();
    let saturate = integral(ins.words.has("satfinite"));
    let mut named = Vec::new();
    while let Some(ty) = ins.words.read(matrix_type) {
        named.push(ty);
    }
    ins.words.finish(ins.opcode)?;
    let types = match named[..] {
        // Of halves, only the types of D and C are named.
        [d, c] => [d, MatrixType::F16, MatrixType::F16, c],
        [d, a, b, c] => [d, a, b, c],
        _ => return Err(ins.fail("needs two or four element types")),
    };
    if !is_wmma_shape(shape, types[1]) || element_bits(types[1]) != element_bits(types[2]) {
        return Err(ins.fail("has no such shape of these types"));
    }
    if (types[1] == MatrixType::B1) != (is_and.is_some() && is_popc) {
        return Err(ins.fail("of bits, and of nothing else, says `.xor.popc` or `.and.popc`"));
    }
    check_small_layout(ins, types[1], Fragment::A, first)?;
    check_small_layout(ins, types[2], Fragment::B, second)?;
    if round.is_some() && types[1] != MatrixType::F64 || round == Some(Round::NearestAway) {
        return Err(ins.fail("does not round these types so"));
    }
    let is_integer = types[0] == MatrixType::S32;
    // Of halves it was allowed once, and said nothing.
    let saturate_fits = is_integer && types[1] != MatrixType::B1 || types[1] == MatrixType::F16;
    if saturate == Integral::Yes && !saturate_fits {
        return Err(ins.fail("does not take `.satfinite` with these types"));
    }
    ins.count(4, 4)?;
    let parts = [Fragment::D, Fragment::A, Fragment::B, Fragment::C];
    let count = |index: usize| fragment_registers(shape, parts[index], types[index]);
    let dsts = p.lane_dsts(ins, 0, count(0), register(types[0]))?;
    let mut srcs = Vec::new();
    for (index, &ty) in types.iter().enumerate().skip(1) {
        srcs.extend(p.lane_values(ins, index, count(index), register(ty))?);
    }
    let and_popc = integral(is_and == Some(true));
    let round = round.unwrap_or_default();
    let op = WarpOp::WmmaMma { shape, layouts: [first, second], types, round, saturate, and_popc };
    p.emit(ins, Op::Warp { op, mask: None, dsts, srcs });
    Ok(())
}
