//! Random programs that end, and whose results do not depend on the order in which threads run.
//!
//! *Masks.* Every place in a program knows a register with the lanes that come there: branches and loops compute it by votes. So
//! lanes can meet anywhere. Barriers and exchanges through shared memory are where all threads of the block come.
//!
//! *NaN.* The bits of a NaN never leave float registers: results are written as one NaN for all.

use std::fmt::Write;

use super::templates;
use crate::support::random::Random;

/// Threads of a block, blocks of a grid.
pub(crate) const THREADS: u32 = 48;
pub(crate) const BLOCKS: u32 = 2;

/// Words that each thread reads and writes.
pub(crate) const INPUTS: u32 = 16;
pub(crate) const OUTPUTS: u32 = 40;

const DEEPEST: usize = 3;

/// Where a statement stands.
#[derive(Clone, Copy)]
pub(super) struct Context {
    /// The number of the mask register, and of loops and branches around.
    pub(super) depth: usize,
    pub(super) place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// All threads of the block come here.
    Block,
    /// Some lanes of the warp do.
    Branch,
    /// Lanes that nobody has counted do: within a function, or behind a jump by table.
    Unknown,
}

/// Whether the hole at `at` of the rest of a template is one of several results.
fn is_result(template: &str, rest: &str, at: usize) -> bool {
    let before = &template[..template.len() - rest.len() + at];
    before.ends_with('|')
        || template.contains("{{") && before.ends_with(", ") && before.matches(',').count() == 1
}

pub(super) struct Generator {
    random: Random,
    pub(super) text: String,
    labels: u32,
    /// Statements that may still be written.
    budget: u32,
    pub(super) functions: u32,
    /// Whether what is written is the entry.
    pub(super) in_entry: bool,
}

/// The text of the program of a seed.
pub(crate) fn program(seed: u64) -> String {
    // Not the seed itself: neighbours would get the same numbers, shifted.
    let mut random = Random(Random(seed).next());
    let functions = (random.next() % 3) as u32;
    let budget = 10 + (random.next() % 50) as u32;
    let text = String::from(".version 8.6\n.target sm_90\n.address_size 64\n");
    let mut generator = Generator { random, text, labels: 0, budget, functions: 0, in_entry: false };
    for index in 0..functions {
        generator.function(index);
        generator.functions += 1;
    }
    generator.entry();
    generator.text
}

const REGISTERS: &str = ".reg .b32 %r<8>, %x<4>, %m<6>, %c<4>, %n<4>, %t, %g, %sums, %slot;\n.reg .b64 %q<4>, %y<4>, %data, %out, %acc, %local;\n\
                         .reg .f32 %f<6>, %u;\n.reg .f64 %d<4>, %v;\n.reg .b16 %h<4>;\n.reg .pred %p<6>, %z<6>, %k;\n";

impl Generator {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.random.next() % limit
    }

    pub(super) fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    pub(super) fn label(&mut self) -> u32 {
        self.labels += 1;
        self.labels
    }

    /// A number, rather a special one.
    pub(super) fn number(&mut self, bits: u32) -> String {
        let raw = self.random.next();
        let raw = match self.below(6) {
            0 => raw & 7,
            1 => 1 << (raw % u64::from(bits)),
            2 => u64::MAX >> (raw % u64::from(bits)),
            3 => (1 << (bits - 1)) - (raw & 1),
            4 => raw & 0xff,
            _ => raw,
        };
        let value = if bits == 64 { raw } else { raw & ((1 << bits) - 1) };
        if bits == 64 && value >> 63 == 1 { format!("{}", value as i64) } else { value.to_string() }
    }

    pub(super) fn register(&mut self, name: &str, count: u64) -> String {
        format!("%{name}{}", self.below(count))
    }

    fn operand(&mut self, hole: char, depth: usize) -> String {
        let is_number = self.below(3) == 0;
        match hole {
            'I' if is_number => self.number(32),
            'J' if is_number => self.number(64),
            'K' if is_number => self.number(16),
            'S' if self.below(4) != 0 => self.below(36).to_string(),
            'R' | 'I' | 'S' => self.register("r", 8),
            'Q' | 'J' => self.register("q", 4),
            'H' | 'K' => self.register("h", 4),
            'F' => self.register("f", 6),
            'D' => self.register("d", 4),
            'L' => format!("%m{depth}"),
            _ => self.register("p", 6),
        }
    }

    /// Writes a template with its holes filled.
    pub(super) fn fill(&mut self, template: &str, depth: usize) {
        let mut rest = template;
        let mut written: Vec<String> = Vec::new();
        while let Some(at) = rest.find('{') {
            self.text.push_str(&rest[..at]);
            let hole = rest[at + 1..].chars().next().unwrap_or(' ');
            if rest[at + 2..].starts_with('}') {
                let mut operand = self.operand(hole, depth);
                // Results of one instruction are different registers.
                while is_result(template, rest, at) && written.contains(&operand) {
                    operand = self.operand(hole, depth);
                }
                self.text.push_str(&operand);
                written.push(operand);
                rest = &rest[at + 3..];
            } else {
                self.text.push('{');
                rest = &rest[at + 1..];
            }
        }
        self.line(rest);
    }

    pub(super) fn choose(&mut self, list: &[&'static str]) -> &'static str {
        list[self.below(list.len() as u64) as usize]
    }

    /// One instruction without a condition, or with one.
    fn instruction(&mut self, list: &[&'static str], depth: usize) {
        let template = self.choose(list);
        if self.below(8) == 0 && !template.contains('\n') {
            let negated = if self.below(2) == 0 { "!" } else { "" };
            let guard = self.register("p", 6);
            let _ = write!(self.text, "@{negated}{guard} ");
        }
        self.fill(template, depth);
    }

    pub(super) fn statements(&mut self, count: u64, context: Context) {
        for _ in 0..count {
            if self.budget == 0 {
                return;
            }
            self.budget -= 1;
            self.statement(context);
        }
    }

    fn statement(&mut self, context: Context) {
        let depth = context.depth;
        let knows_lanes = context.place != Place::Unknown;
        match self.below(48) {
            0..8 => self.instruction(templates::INTEGER, depth),
            8..15 => self.instruction(templates::BITS, depth),
            15..22 => self.instruction(templates::FLOAT, depth),
            22..26 => self.instruction(templates::PREDICATE, depth),
            26..29 if knows_lanes => {
                let template = self.choose(templates::WARP);
                self.fill(template, depth);
            }
            29..31 if self.in_entry => self.instruction(templates::ATOMIC, depth),
            31 => self.local_memory(),
            32 if self.in_entry => self.global_load(),
            33 if context.place == Place::Block => self.exchange(),
            34 if context.place == Place::Block => self.block_reduction(),
            35 if self.functions > 0 => self.call(),
            36 | 37 if depth < DEEPEST => self.branch(context),
            38 if depth < DEEPEST => self.repeat(context),
            39 if depth < DEEPEST => self.switch(context),
            40 | 41 if depth < DEEPEST && self.in_entry => self.uniform_branch(context),
            42 if self.in_entry => self.generic_pointer(),
            43 if self.functions > 1 => self.indirect_call(),
            44 => self.vector_access(),
            45 if !self.in_entry => self.early_return(),
            46 if self.below(24) == 0 => self.long_loop(context),
            47 => self.instruction(templates::APPROXIMATE, depth),
            _ => self.instruction(templates::PREDICATE, depth),
        }
    }

    /// A word of the thread's own array.
    fn local_memory(&mut self) {
        self.fill("and.b32 %x0, {R}, 28;", 0);
        self.line("cvt.u64.u32 %y0, %x0;\nadd.u64 %y0, %y0, %local;");
        let access = self.choose(&[
            "st.local.u32 [%y0], {R};",
            "ld.local.u32 {R}, [%y0];",
            "ld.local.s8 {R}, [%y0];",
            "st.local.u16 [%y0], {H};",
            "cvta.local.u64 %y1, %y0;\nst.u32 [%y1], {R};",
            "cvta.local.u64 %y1, %y0;\nld.u16 {R}, [%y1];",
        ]);
        self.fill(access, 0);
    }

    fn global_load(&mut self) {
        self.fill("and.b32 %x0, {R}, 252;", 0);
        self.line("cvt.u64.u32 %y0, %x0;\nadd.u64 %y0, %y0, %data;");
        let access = self.choose(&[
            "ld.global.u32 {R}, [%y0];",
            "ld.global.s16 {R}, [%y0];",
            "ld.global.nc.f32 {F}, [%y0];",
            "ld.u8 {R}, [%y0];",
        ]);
        self.fill(access, 0);
    }

    /// Every thread writes its word, then reads another's.
    fn exchange(&mut self) {
        self.fill("st.shared.u32 [%slot], {R};", 0);
        self.line("bar.sync 0;");
        self.fill("and.b32 %x0, {R}, 31;", 0);
        self.line("mov.u32 %x1, shared;\nmad.lo.u32 %x0, %x0, 4, %x1;");
        self.fill("ld.shared.u32 {R}, [%x0];", 0);
        self.line("bar.sync 0;");
    }

    /// A word by a generic address that lies in one space or another.
    fn generic_pointer(&mut self) {
        self.line("cvta.local.u64 %y0, %local;\ncvt.u64.u32 %y1, %slot;\ncvta.shared.u64 %y1, %y1;");
        self.fill("selp.b64 %y0, %y0, %y1, {P};", 0);
        self.fill("selp.b64 %y1, %y0, %data, {P};", 0);
        let access = self.choose(&[
            "ld.u32 {R}, [%y1];",
            "st.u32 [%y0], {R};",
            "ld.s16 {R}, [%y1];",
            "ld.f32 {F}, [%y1];",
        ]);
        self.fill(access, 0);
    }

    fn vector_access(&mut self) {
        let access = self.choose(&[
            "ld.local.v2.u32 {%x0, %x1}, [%local+8];\nxor.b32 {R}, %x0, %x1;",
            "st.local.v2.b32 [%local+16], {%x0, %x1};",
            "ld.local.v4.u16 {%h0, %h1, %h2, %h3}, [%local];",
            "st.local.v2.u64 [%local+16], {%q1, %q0};",
            "ld.local.v2.f32 {%f0, %f3}, [%local];",
        ]);
        // Braces of vectors are no holes.
        match access.split_once("{R}") {
            Some((before, after)) => {
                self.text.push_str(before);
                self.fill(&format!("{{R}}{after}"), 0);
            }
            None if access.contains("%x0") => self.line(&format!("mov.b64 {{%x0, %x1}}, %q0;\n{access}")),
            None => self.line(access),
        }
    }

    fn block_reduction(&mut self) {
        let template = self.choose(&[
            "bar.red.popc.u32 {R}, 0, {P};",
            "bar.red.and.pred {P}, 0, {P};",
            "bar.red.or.pred {P}, 1, {P};",
        ]);
        self.fill(template, 0);
    }

    /// A function of two values.
    fn function(&mut self, index: u32) {
        let _ = write!(
            self.text,
            ".func (.param .b32 r) f{index}(.param .b32 a, .param .b64 b)\n{{\n{REGISTERS}.local .align 16 .b8 array[32];\n\
             ld.param.b32 %r0, [a];\nld.param.b64 %q0, [b];\nmov.u64 %local, array;\n"
        );
        let is_recursive = self.below(3) == 0;
        if is_recursive {
            self.line("and.b32 %r1, %r0, 7;\nsetp.eq.u32 %k, %r1, 0;\n@!%k bra GO;\ncvt.u32.u64 %r1, %q0;\nst.param.b32 [r], %r1;\nret;\nGO:");
        }
        for register in 1..8 {
            let number = self.number(32);
            self.line(&format!("xor.b32 %r{register}, %r0, {number};"));
        }
        self.line("mov.u64 %y0, 0;\nst.local.u64 [%local], %y0;\nst.local.u64 [%local+8], %y0;\nst.local.u64 [%local+16], %y0;\nst.local.u64 [%local+24], %y0;");
        self.start_values();
        let count = 3 + self.below(8);
        let kept = std::mem::replace(&mut self.budget, 12);
        self.statements(count, Context { depth: 0, place: Place::Unknown });
        self.budget = kept;
        if is_recursive {
            // The lowest three bits count down.
            self.line(&format!(
                "{{\n.param .b32 a1;\n.param .b64 b1;\n.param .b32 r1;\nld.param.b32 %x0, [a];\nadd.u32 %x1, %r5, %r6;\nand.b32 %x1, %x1, -8;\n\
                 sub.u32 %x0, %x0, 1;\nand.b32 %x0, %x0, 7;\nor.b32 %x0, %x0, %x1;\n\
                 st.param.b32 [a1], %x0;\nst.param.b64 [b1], %q1;\ncall (r1), f{index}, (a1, b1);\nld.param.b32 %r2, [r1];\n}}"
            ));
        }
        self.line("xor.b32 %r0, %r0, %r1;\nadd.u32 %r0, %r0, %r2;\nst.param.b32 [r], %r0;\nret;\n}");
    }

    /// Values of the other registers from those of 32 bits.
    fn start_values(&mut self) {
        for index in 0..4 {
            self.line(&format!(
                "mov.b64 %q{index}, {{%r{}, %r{}}};\ncvt.u16.u32 %h{index}, %r{};\ncvt.rn.f64.s32 %d{index}, %r{index};",
                index,
                index + 4,
                7 - index
            ));
        }
        for index in 0..6 {
            if index % 2 == 0 {
                self.line(&format!("cvt.rn.f32.s32 %f{index}, %r{index};"));
            } else {
                self.line(&format!("mov.b32 %f{index}, %r{index};"));
            }
            self.line(&format!("setp.lt.s32 %p{index}, %r{index}, %r{};", index + 2));
        }
    }

    fn entry(&mut self) {
        if self.functions > 0 {
            let names: Vec<String> = (0..self.functions).map(|index| format!("f{index}")).collect();
            self.line(&format!(".global .align 8 .u64 table[{}] = {{{}}};", names.len(), names.join(", ")));
        }
        self.in_entry = true;
        let _ = write!(
            self.text,
            ".visible .entry k(.param .u64 data, .param .u64 out, .param .u64 acc)\n{{\n{REGISTERS}\
             .shared .align 8 .b8 shared[{}];\n.shared .align 8 .b8 sums[8];\n.local .align 16 .b8 array[32];\n\
             ld.param.u64 %data, [data];\nld.param.u64 %out, [out];\nld.param.u64 %acc, [acc];\nmov.u64 %local, array;\n\
             mov.u32 %t, %tid.x;\nmov.u32 %x0, %ctaid.x;\nmov.u32 %x1, %ntid.x;\nmad.lo.u32 %g, %x0, %x1, %t;\n\
             mov.u32 %sums, sums;\nmov.u32 %slot, shared;\nmad.lo.u32 %slot, %t, 4, %slot;\n\
             mov.u32 %x0, 0;\nst.shared.u32 [%slot], %x0;\nsetp.eq.u32 %k, %t, 0;\n@%k st.shared.v2.u32 [%sums], {{%x0, %x0}};\n\
             mov.u32 %m0, 0xffffffff;\nmad.wide.u32 %y1, %g, {}, %data;\nmad.wide.u32 %out, %g, {}, %out;\n\
             mov.u64 %y0, 0;\nst.local.u64 [%local], %y0;\nst.local.u64 [%local+8], %y0;\nst.local.u64 [%local+16], %y0;\nst.local.u64 [%local+24], %y0;\n",
            THREADS * 4,
            INPUTS * 4,
            OUTPUTS * 4,
        );
        for index in 0..8 {
            self.line(&format!("ld.global.u32 %r{index}, [%y1+{}];", index * 4));
        }
        self.start_values();
        self.line("bar.sync 0;");
        while self.budget > 0 {
            self.statements(1, Context { depth: 0, place: Place::Block });
        }
        self.line("bar.sync 0;");
        self.results();
        self.line("ret;\n}");
    }

    fn results(&mut self) {
        let mut at = 0;
        for index in 0..8 {
            self.line(&format!("st.global.u32 [%out+{at}], %r{index};"));
            at += 4;
        }
        for index in 0..4 {
            self.line(&format!("st.global.u64 [%out+{at}], %q{index};"));
            at += 8;
        }
        for index in 0..4 {
            self.line(&format!(
                "setp.nan.f64 %k, %d{index}, %d{index};\nselp.f64 %v, 0d7FF8000000000000, %d{index}, %k;\nst.global.f64 [%out+{at}], %v;"
            ));
            at += 8;
        }
        for index in 0..6 {
            self.line(&format!(
                "setp.nan.f32 %k, %f{index}, %f{index};\nselp.f32 %u, 0f7FC00000, %f{index}, %k;\nst.global.f32 [%out+{at}], %u;"
            ));
            at += 4;
        }
        for index in 0..4 {
            self.line(&format!("st.global.u16 [%out+{at}], %h{index};"));
            at += 4;
        }
        self.line("mov.u32 %x0, 0;");
        for index in 0..6 {
            self.line(&format!("selp.u32 %x1, {}, 0, %p{index};\nor.b32 %x0, %x0, %x1;", 1 << index));
        }
        self.line(&format!(
            "st.global.u32 [%out+{at}], %x0;\nld.shared.u32 %x0, [%sums];\nst.global.u32 [%out+{}], %x0;",
            at + 4
        ));
    }
}
