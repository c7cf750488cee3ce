//! Special registers.

use cranelift_codegen::ir::InstBuilder as _;
use cranelift_codegen::ir::Value;
use cranelift_codegen::ir::types;

use super::Emitter;
use super::Known;
use super::READONLY;
use crate::ir::Special;
use crate::native::callbacks::Helper;
use crate::native::callbacks::Question;
use crate::native::context::at;

impl Emitter<'_, '_> {
    fn field(&mut self, offset: i32) -> Value {
        self.b.ins().load(types::I32, READONLY, self.context, offset)
    }

    fn wide_field(&mut self, offset: i32) -> Value {
        self.b.ins().load(types::I64, READONLY, self.context, offset)
    }

    fn number(&mut self, value: u64) -> Value {
        self.constant(value, types::I32)
    }

    fn ask(&mut self, question: Question) -> Value {
        let code = self.number(u64::from(question.code()));
        self.call(Helper::Ask, &[self.context, code, self.lane])
    }

    /// The value of a special register, in its own width.
    pub(super) fn special(&mut self, special: Special) -> Value {
        match special {
            Special::TidX => self.thread[0],
            Special::TidY => self.thread[1],
            Special::TidZ => self.thread[2],
            Special::NtidX => self.known(Known::BlockExtent(0)),
            Special::NtidY => self.known(Known::BlockExtent(1)),
            Special::NtidZ => self.known(Known::BlockExtent(2)),
            Special::CtaidX | Special::ClusterIdX => self.field(at::BLOCK_INDEX),
            Special::CtaidY | Special::ClusterIdY => self.field(at::BLOCK_INDEX + 4),
            Special::CtaidZ | Special::ClusterIdZ => self.field(at::BLOCK_INDEX + 8),
            Special::NctaidX | Special::NclusterIdX => self.field(at::GRID_EXTENT),
            Special::NctaidY | Special::NclusterIdY => self.field(at::GRID_EXTENT + 4),
            Special::NctaidZ | Special::NclusterIdZ => self.field(at::GRID_EXTENT + 8),
            Special::LaneId => self.b.ins().band_imm_u(self.lane, 31),
            Special::WarpId => self.b.ins().ushr_imm_u(self.lane, 5),
            Special::NwarpId => {
                let [x, y, z] = [0, 1, 2].map(|axis| self.known(Known::BlockExtent(axis)));
                let area = self.b.ins().imul(x, y);
                let threads = self.b.ins().imul(area, z);
                let up = self.b.ins().iadd_imm_s(threads, 31);
                self.b.ins().ushr_imm_u(up, 5)
            }
            Special::LanemaskEq
            | Special::LanemaskLe
            | Special::LanemaskLt
            | Special::LanemaskGe
            | Special::LanemaskGt => self.lane_mask(special),
            Special::GridId => self.wide_field(at::GRID_ID),
            Special::TotalSmemSize => {
                let [fixed, dynamic] = [self.field(at::STATIC_SHARED), self.field(at::DYNAMIC_SHARED)];
                self.b.ins().iadd(fixed, dynamic)
            }
            Special::DynamicSmemSize => self.field(at::DYNAMIC_SHARED),
            Special::Envreg(1) => {
                let word = self.wide_field(at::WORKSPACE);
                let high = self.b.ins().ushr_imm_u(word, 32);
                self.b.ins().ireduce(types::I32, high)
            }
            Special::Envreg(2) => {
                let word = self.wide_field(at::WORKSPACE);
                self.b.ins().ireduce(types::I32, word)
            }
            Special::Clock64 => self.ask(Question::Clock),
            Special::Clock => {
                let word = self.ask(Question::Clock);
                self.b.ins().ireduce(types::I32, word)
            }
            Special::ClockHi => {
                let word = self.ask(Question::Clock);
                let high = self.b.ins().ushr_imm_u(word, 32);
                self.b.ins().ireduce(types::I32, high)
            }
            Special::GlobalTimer => self.ask(Question::Time),
            Special::GlobalTimerLo => {
                let word = self.ask(Question::Time);
                self.b.ins().ireduce(types::I32, word)
            }
            Special::GlobalTimerHi => {
                let word = self.ask(Question::Time);
                let high = self.b.ins().ushr_imm_u(word, 32);
                self.b.ins().ireduce(types::I32, high)
            }
            Special::NsmId | Special::ClusterNctaId | Special::ClusterNctaRank => self.number(1),
            Special::SmId
            | Special::AggrSmemSize
            | Special::CurrentGraphExec
            | Special::Envreg(_)
            | Special::Pm(_)
            | Special::ClusterCtaId
            | Special::ClusterCtaRank
            | Special::IsExplicitCluster
            | Special::ReservedSmem => self.number(0),
        }
    }

    fn lane_mask(&mut self, special: Special) -> Value {
        let lane = self.b.ins().band_imm_u(self.lane, 31);
        let one = self.number(1);
        let equal = self.b.ins().ishl(one, lane);
        let less = self.b.ins().iadd_imm_s(equal, -1);
        match special {
            Special::LanemaskEq => equal,
            Special::LanemaskLt => less,
            Special::LanemaskLe => self.b.ins().bor(equal, less),
            Special::LanemaskGe => self.b.ins().bnot(less),
            _ => {
                let up_to = self.b.ins().bor(equal, less);
                self.b.ins().bnot(up_to)
            }
        }
    }
}
