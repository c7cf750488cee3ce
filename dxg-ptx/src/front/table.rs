//! The instructions by name.

use std::sync::OnceLock;

use crate::front::Parser;
use crate::front::Result;
use crate::front::call;
use crate::front::hash::Map;
use crate::front::lower::arithmetic;
use crate::front::lower::atomic;
use crate::front::lower::barrier;
use crate::front::lower::bits;
use crate::front::lower::cluster;
use crate::front::lower::compare;
use crate::front::lower::control;
use crate::front::lower::convert;
use crate::front::lower::matrix;
use crate::front::lower::mbarrier;
use crate::front::lower::memory;
use crate::front::lower::moves;
use crate::front::lower::video;
use crate::front::lower::warp;
use crate::front::lower::wmma;
use crate::front::operand::Instruction;

/// Lowers an instruction.
type Lower = for<'p, 'a> fn(&'p mut Parser<'a>, &'p mut Instruction<'a>) -> Result<()>;

/// What is done with an instruction.
#[derive(Clone, Copy, Debug)]
pub(super) enum Row {
    /// Lowered after its operands are read.
    Plain(Lower),
    /// Reads its own operands.
    Whole(Lower),
    /// Refused: why.
    Refused(&'static str),
}

/// What is done with the instruction of this name.
pub(super) fn find(opcode: &str) -> Option<Row> {
    static TABLE: OnceLock<Map<&'static str, Row>> = OnceLock::new();
    TABLE.get_or_init(|| ROWS.iter().copied().collect()).get(opcode).copied()
}

const TEXTURES: &str = "there are no textures and surfaces";
const WARP_GROUPS: &str = "there are no matrix operations of warp groups";
const CLUSTERS: &str = "each block is a cluster of its own";
const FABRIC: &str = "there are no other devices to copy from";
const MULTIMEM: &str = "there is no multicast memory";
const TENSOR_MAPS: &str = "there are no tensor maps";
const TENSORS: &str = "there are no tensor cores of the fifth generation";

const ROWS: &[(&str, Row)] = &[
    ("abs", Row::Plain(arithmetic::abs)),
    ("activemask", Row::Plain(warp::activemask)),
    ("add", Row::Plain(arithmetic::add)),
    ("addc", Row::Plain(arithmetic::addc)),
    ("alloca", Row::Plain(memory::alloca)),
    ("and", Row::Plain(bits::and)),
    ("applypriority", Row::Plain(control::hint)),
    ("atom", Row::Plain(atomic::atom)),
    ("bar", Row::Plain(barrier::bar)),
    ("barrier", Row::Plain(barrier::bar)),
    ("bfe", Row::Plain(bits::bfe)),
    ("bfi", Row::Plain(bits::bfi)),
    ("bfind", Row::Plain(bits::bfind)),
    ("bmsk", Row::Plain(bits::bmsk)),
    ("bra", Row::Plain(control::bra)),
    ("brev", Row::Plain(bits::brev)),
    ("brkpt", Row::Plain(control::brkpt)),
    ("brx", Row::Plain(control::brx)),
    ("call", Row::Whole(call::call)),
    ("clmad", Row::Plain(bits::clmad)),
    ("clz", Row::Plain(bits::clz)),
    ("clusterlaunchcontrol", Row::Refused(CLUSTERS)),
    ("cnot", Row::Plain(bits::cnot)),
    ("copysign", Row::Plain(arithmetic::copysign)),
    ("cos", Row::Plain(arithmetic::cos)),
    ("cp", Row::Whole(memory::cp)),
    ("createpolicy", Row::Plain(memory::create_policy)),
    ("cvt", Row::Plain(convert::cvt)),
    ("cvta", Row::Plain(moves::cvta)),
    ("discard", Row::Plain(control::hint)),
    ("div", Row::Plain(arithmetic::div)),
    ("dp2a", Row::Plain(arithmetic::dp2a)),
    ("dp4a", Row::Plain(arithmetic::dp4a)),
    ("elect", Row::Plain(warp::elect)),
    ("ex2", Row::Plain(arithmetic::ex2)),
    ("exit", Row::Plain(control::exit)),
    ("fabric", Row::Refused(FABRIC)),
    ("fence", Row::Plain(memory::fence)),
    ("fma", Row::Plain(arithmetic::fma)),
    ("fns", Row::Plain(bits::fns)),
    ("getctarank", Row::Plain(cluster::getctarank)),
    ("griddepcontrol", Row::Plain(cluster::griddepcontrol)),
    ("isspacep", Row::Plain(moves::isspacep)),
    ("istypep", Row::Refused(TEXTURES)),
    ("ld", Row::Plain(memory::ld)),
    ("ldmatrix", Row::Plain(matrix::ldmatrix)),
    ("ldu", Row::Plain(memory::ld)),
    ("lg2", Row::Plain(arithmetic::lg2)),
    ("lop3", Row::Plain(bits::lop3)),
    ("mad", Row::Plain(arithmetic::mad)),
    ("mad24", Row::Plain(arithmetic::mad24)),
    ("madc", Row::Plain(arithmetic::madc)),
    ("mapa", Row::Plain(cluster::mapa)),
    ("match", Row::Plain(warp::matching)),
    ("max", Row::Plain(arithmetic::max)),
    ("mbarrier", Row::Plain(mbarrier::mbarrier)),
    ("membar", Row::Plain(memory::fence)),
    ("min", Row::Plain(arithmetic::min)),
    ("mma", Row::Plain(matrix::mma)),
    ("mov", Row::Plain(moves::mov)),
    ("movmatrix", Row::Plain(matrix::movmatrix)),
    ("mul", Row::Plain(arithmetic::mul)),
    ("mul24", Row::Plain(arithmetic::mul24)),
    ("multimem", Row::Refused(MULTIMEM)),
    ("nanosleep", Row::Plain(control::nanosleep)),
    ("neg", Row::Plain(arithmetic::neg)),
    ("not", Row::Plain(bits::not)),
    ("or", Row::Plain(bits::or)),
    ("pmevent", Row::Plain(control::hint)),
    ("popc", Row::Plain(bits::popc)),
    ("prefetch", Row::Plain(control::hint)),
    ("prefetchu", Row::Plain(control::hint)),
    ("prmt", Row::Plain(bits::prmt)),
    ("rcp", Row::Plain(arithmetic::rcp)),
    ("red", Row::Plain(atomic::red)),
    ("redux", Row::Plain(warp::redux)),
    ("rem", Row::Plain(arithmetic::rem)),
    ("ret", Row::Plain(control::ret)),
    ("rsqrt", Row::Plain(arithmetic::rsqrt)),
    ("sad", Row::Plain(arithmetic::sad)),
    ("selp", Row::Plain(compare::selp)),
    ("set", Row::Plain(compare::set)),
    ("setmaxnreg", Row::Plain(control::hint)),
    ("setp", Row::Plain(compare::setp)),
    ("shf", Row::Plain(bits::shf)),
    ("shfl", Row::Plain(warp::shfl)),
    ("shl", Row::Plain(bits::shl)),
    ("shr", Row::Plain(bits::shr)),
    ("sin", Row::Plain(arithmetic::sin)),
    ("slct", Row::Plain(compare::slct)),
    ("sqrt", Row::Plain(arithmetic::sqrt)),
    ("st", Row::Plain(memory::st)),
    ("stackrestore", Row::Plain(memory::stack_restore)),
    ("stacksave", Row::Plain(memory::stack_save)),
    ("stmatrix", Row::Plain(matrix::stmatrix)),
    ("sub", Row::Plain(arithmetic::sub)),
    ("subc", Row::Plain(arithmetic::subc)),
    ("suld", Row::Refused(TEXTURES)),
    ("suq", Row::Refused(TEXTURES)),
    ("sured", Row::Refused(TEXTURES)),
    ("sust", Row::Refused(TEXTURES)),
    ("szext", Row::Plain(bits::szext)),
    ("tanh", Row::Plain(arithmetic::tanh)),
    ("tcgen05", Row::Refused(TENSORS)),
    ("tensormap", Row::Refused(TENSOR_MAPS)),
    ("testp", Row::Plain(compare::testp)),
    ("tex", Row::Refused(TEXTURES)),
    ("tld4", Row::Refused(TEXTURES)),
    ("trap", Row::Plain(control::trap)),
    ("txq", Row::Refused(TEXTURES)),
    ("vabsdiff", Row::Plain(video::vabsdiff)),
    ("vabsdiff2", Row::Plain(video::vabsdiff2)),
    ("vabsdiff4", Row::Plain(video::vabsdiff4)),
    ("vadd", Row::Plain(video::vadd)),
    ("vadd2", Row::Plain(video::vadd2)),
    ("vadd4", Row::Plain(video::vadd4)),
    ("vavrg2", Row::Plain(video::vavrg2)),
    ("vavrg4", Row::Plain(video::vavrg4)),
    ("vmad", Row::Plain(video::vmad)),
    ("vmax", Row::Plain(video::vmax)),
    ("vmax2", Row::Plain(video::vmax2)),
    ("vmax4", Row::Plain(video::vmax4)),
    ("vmin", Row::Plain(video::vmin)),
    ("vmin2", Row::Plain(video::vmin2)),
    ("vmin4", Row::Plain(video::vmin4)),
    ("vote", Row::Plain(warp::vote)),
    ("vset", Row::Plain(video::vset)),
    ("vset2", Row::Plain(video::vset2)),
    ("vset4", Row::Plain(video::vset4)),
    ("vshl", Row::Plain(video::vshl)),
    ("vshr", Row::Plain(video::vshr)),
    ("vsub", Row::Plain(video::vsub)),
    ("vsub2", Row::Plain(video::vsub2)),
    ("vsub4", Row::Plain(video::vsub4)),
    ("wgmma", Row::Refused(WARP_GROUPS)),
    ("wmma", Row::Plain(wmma::wmma)),
    ("xor", Row::Plain(bits::xor)),
];
