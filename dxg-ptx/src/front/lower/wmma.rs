//! Matrix operations of a warp on fragments.

use crate::front::Parser;
use crate::front::Result;
use crate::front::lower::matrix::element_bits;
use crate::front::lower::matrix::integral;
use crate::front::lower::matrix::layout;
use crate::front::lower::matrix::matrix_type;
use crate::front::lower::matrix::place;
use crate::front::lower::matrix::register;
use crate::front::lower::matrix::registers;
use crate::front::lower::matrix::shape;
use crate::front::operand::Instruction;
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
