//! Branches, loops, jumps and calls of random programs.

use super::generate::Context;
use super::generate::Generator;
use super::generate::Place;

impl Generator {
    pub(super) fn call(&mut self) {
        let function = self.below(u64::from(self.functions));
        self.line("{\n.param .b32 a;\n.param .b64 b;\n.param .b32 r;");
        self.fill("st.param.b32 [a], {R};", 0);
        self.fill("st.param.b64 [b], {Q};", 0);
        self.line(&format!("call (r), f{function}, (a, b);"));
        self.fill("ld.param.b32 {R}, [r];", 0);
        self.line("}");
    }

    /// Takes a predicate into the register of this depth, which the body does not change.
    fn condition(&mut self, depth: usize) {
        let predicate = self.register("p", 6);
        self.line(&format!("and.pred %z{depth}, {predicate}, {predicate};"));
    }

    pub(super) fn branch(&mut self, context: Context) {
        let depth = context.depth;
        let inner = Context {
            depth: depth + 1,
            place: if context.place == Place::Block { Place::Branch } else { context.place },
        };
        let knows_lanes = context.place != Place::Unknown;
        let label = self.label();
        self.condition(depth);
        if knows_lanes {
            self.line(&format!("vote.sync.ballot.b32 %m{}, %z{depth}, %m{depth};", depth + 1));
        }
        self.line(&format!("@!%z{depth} bra ELSE{label};"));
        let count = 1 + self.below(5);
        self.statements(count, inner);
        if knows_lanes && self.below(16) == 0 {
            self.line("exit;");
        }
        self.line(&format!("bra END{label};\nELSE{label}:"));
        if knows_lanes {
            self.line(&format!("xor.b32 %m{0}, %m{0}, %m{depth};", depth + 1));
        }
        if self.below(2) == 0 {
            let count = 1 + self.below(4);
            self.statements(count, inner);
        }
        self.line(&format!("END{label}:"));
    }

    pub(super) fn repeat(&mut self, context: Context) {
        let depth = context.depth;
        let knows_lanes = context.place != Place::Unknown;
        let label = self.label();
        let is_uniform = self.below(2) == 0;
        if is_uniform {
            let rounds = 1 + self.below(4);
            self.line(&format!("mov.u32 %n{depth}, {rounds};"));
        } else {
            let register = self.register("r", 8);
            self.line(&format!("and.b32 %n{depth}, {register}, 3;"));
        }
        let place = match context.place {
            Place::Block if is_uniform => Place::Block,
            Place::Unknown => Place::Unknown,
            _ => Place::Branch,
        };
        self.line(&format!("mov.u32 %c{depth}, 0;\nmov.u32 %m{}, %m{depth};\nLOOP{label}:", depth + 1));
        let count = 1 + self.below(5);
        self.statements(count, Context { depth: depth + 1, place });
        // A way out of the middle: those that stay count themselves again.
        if place != Place::Block && self.below(3) == 0 {
            self.condition(depth);
            if knows_lanes {
                self.line(&format!("vote.sync.ballot.b32 %m{0}, !%z{depth}, %m{0};", depth + 1));
            }
            self.line(&format!("@%z{depth} bra OUT{label};"));
        }
        self.line(&format!("add.u32 %c{depth}, %c{depth}, 1;\nsetp.lt.u32 %z{depth}, %c{depth}, %n{depth};"));
        if knows_lanes {
            self.line(&format!("vote.sync.ballot.b32 %m{0}, %z{depth}, %m{0};", depth + 1));
        }
        self.line(&format!("@%z{depth} bra LOOP{label};\nOUT{label}:"));
    }

    /// A jump by table; lanes go apart, so nothing within knows its lanes.
    pub(super) fn switch(&mut self, context: Context) {
        let label = self.label();
        let ways = 2 + self.below(3);
        let names: Vec<String> = (0..ways).map(|way| format!("WAY{label}_{way}")).collect();
        let register = self.register("r", 8);
        self.line(&format!(
            "rem.u32 %x2, {register}, {ways};\nTABLE{label}: .branchtargets {};",
            names.join(", ")
        ));
        self.line(&format!("brx.idx %x2, TABLE{label};"));
        for name in &names {
            self.line(&format!("{name}:"));
            let count = 1 + self.below(3);
            self.statements(count, Context { depth: context.depth + 1, place: Place::Unknown });
            if self.below(3) != 0 {
                self.line(&format!("bra OVER{label};"));
            }
        }
        self.line(&format!("OVER{label}:"));
    }

    /// A branch that all threads of the block take, or all of a warp.
    pub(super) fn uniform_branch(&mut self, context: Context) {
        let depth = context.depth;
        let label = self.label();
        let block_wide = self.below(3) != 0;
        let number = self.number(32);
        let value = match (block_wide, self.below(3)) {
            (true, 0) => "mov.u32 %x3, %ctaid.x;",
            (true, 1) => "ld.global.u32 %x3, [%data+4];",
            (true, _) => "mov.u32 %x3, %nctaid.x;",
            (false, _) => "shr.u32 %x3, %t, 5;",
        };
        let compare = ["eq.u32", "lt.u32", "gt.s32", "ne.u32"][self.below(4) as usize];
        let number = if self.below(2) == 0 { "1".to_owned() } else { number };
        self.line(&format!("{value}\nsetp.{compare} %z{depth}, %x3, {number};"));
        self.line(&format!("mov.u32 %m{}, %m{depth};\n@!%z{depth} bra ELSE{label};", depth + 1));
        let place = match context.place {
            Place::Block if !block_wide => Place::Branch,
            place => place,
        };
        let inner = Context { depth: depth + 1, place };
        let count = 1 + self.below(5);
        self.statements(count, inner);
        self.line(&format!("bra END{label};\nELSE{label}:"));
        let count = self.below(4);
        self.statements(count, inner);
        self.line(&format!("END{label}:"));
    }

    /// A function from a table, which one depends on the lane.
    pub(super) fn indirect_call(&mut self) {
        let functions = self.functions;
        let label = self.label();
        let register = self.register("r", 8);
        self.line(&format!(
            "rem.u32 %x0, {register}, {functions};\nmul.wide.u32 %y0, %x0, 8;\nmov.u64 %y1, table;\nadd.u64 %y0, %y0, %y1;\n\
             ld.global.u64 %y0, [%y0];\n{{\nproto{label}: .callprototype (.param .b32 _) _ (.param .b32 _, .param .b64 _);\n\
             .param .b32 a;\n.param .b64 b;\n.param .b32 r;"
        ));
        self.fill("st.param.b32 [a], {R};", 0);
        self.fill("st.param.b64 [b], {Q};", 0);
        self.line(&format!("call (r), %y0, (a, b), proto{label};"));
        self.fill("ld.param.b32 {R}, [r];", 0);
        self.line("}");
    }

    /// Out of a function before its end.
    pub(super) fn early_return(&mut self) {
        let label = self.label();
        self.fill("and.pred %k, {P}, {P};", 0);
        self.line(&format!("@!%k bra STAY{label};"));
        self.fill("st.param.b32 [r], {R};", 0);
        self.line(&format!("ret;\nSTAY{label}:"));
    }

    /// A loop of more rounds than a turn of a thread has instructions, with a lane's own number of rounds.
    pub(super) fn long_loop(&mut self, context: Context) {
        if context.depth > 0 {
            return;
        }
        let label = self.label();
        self.fill("and.b32 %x3, {R}, 1023;", 0);
        self.line(&format!("add.u32 %x3, %x3, 1500;\nLONG{label}:"));
        let count = 1 + self.below(3);
        for _ in 0..count {
            let template = self.choose(&[
                "mad.lo.u32 {R}, {R}, {I}, {R};",
                "xor.b32 {R}, {R}, {R};",
                "shf.l.wrap.b32 {R}, {R}, {R}, {S};",
                "add.u64 {Q}, {Q}, {J};",
                "fma.rn.f32 {F}, {F}, {F}, {F};",
            ]);
            self.fill(template, 0);
        }
        self.line(&format!("sub.u32 %x3, %x3, 1;\nsetp.ne.u32 %k, %x3, 0;\n@%k bra LONG{label};"));
    }
}
