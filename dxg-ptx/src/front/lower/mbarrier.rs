//! mbarrier
use crate::front::Parser;
use crate::front::Result;
use crate::front::operand::Instruction;
pub(in crate::front) fn copy_arrive<'a>(_p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    Err(ins.refuse("x"))
}
