//! Calls.

use crate::diagnostics::Diagnostic;
use crate::front::Parser;
use crate::front::Prototype;
use crate::front::Result;
use crate::front::code::Life;
use crate::front::lex::Token;
use crate::front::lex::TokenKind;
use crate::front::lower::Fit;
use crate::front::names::Found;
use crate::front::names::Name;
use crate::front::operand::Arg;
use crate::front::operand::Instruction;
use crate::front::operand::Piece;
use crate::front::types;
use crate::ir::Address;
use crate::ir::Base;
use crate::ir::Call;
use crate::ir::Callee;
use crate::ir::FuncId;
use crate::ir::LocalId;
use crate::ir::Op;
use crate::ir::Order;
use crate::ir::Reg;
use crate::ir::RegClass;
use crate::ir::Scalar;
use crate::ir::Space;
use crate::ir::Symbol;

/// What a call passes on and takes back.
#[derive(Debug, Default)]
struct Passed {
    locals: Vec<LocalId>,
    /// Results that go on into registers.
    into: Vec<(LocalId, Reg, Scalar)>,
}

/// Functions that the machine has.
fn builtin(name: &str) -> Option<(Callee, usize, usize)> {
    Some(match name {
        "vprintf" => (Callee::Vprintf, 2, 1),
        "__assertfail" => (Callee::AssertFail, 5, 0),
        "malloc" => (Callee::Malloc, 1, 1),
        "free" => (Callee::Free, 1, 0),
        _ => return None,
    })
}

/// Lowers a call from after its modifiers.
pub(super) fn call<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    ins.words.has("uni");
    ins.words.finish(ins.opcode)?;
    let rets = if p.lex.peek().is(b'(') {
        let pieces = p.pieces(ins)?;
        p.expect(b',')?;
        Some(pieces)
    } else {
        None
    };
    let mut target = p.word("a function")?;
    while p.lex.peek().is(b':') {
        // Some compilers put a label for the debugger here.
        p.lex.bump();
        target = p.word("a function")?;
    }
    let mut args = Vec::new();
    let mut prototype = None;
    if p.lex.peek().is(b',') {
        p.lex.bump();
        if p.lex.peek().is(b'(') {
            args = p.pieces(ins)?;
            if p.lex.peek().is(b',') {
                p.lex.bump();
                prototype = Some(p.word("a prototype")?);
            }
        } else {
            prototype = Some(p.word("a prototype")?);
        }
    }
    p.expect(b';')?;
    p.is_within = false;
    let rets = rets.unwrap_or_default();
    match p.resolve(target.text, target.place)? {
        Arg::Symbol(Symbol::Function(id), 0) => p.direct(ins, id, &args, &rets),
        Arg::Reg(reg, RegClass::B64) => {
            let Some(prototype) = prototype else {
                return Err(ins.fail("through a register needs a prototype or a list of targets"));
            };
            p.indirect(ins, reg, prototype, &args, &rets)
        }
        Arg::Name(name) => Err(Diagnostic::malformed(target.place, format!("`{name}` is not declared"))),
        _ => Err(Diagnostic::malformed(target.place, format!("`{}` is no function", target.text))),
    }
}

impl<'a> Parser<'a> {
    /// Reads operands in parentheses.
    fn pieces(&mut self, ins: &mut Instruction<'a>) -> Result<Vec<Piece<'a>>> {
        self.expect(b'(')?;
        let mut pieces = Vec::new();
        if self.lex.peek().is(b')') {
            self.lex.bump();
            return Ok(pieces);
        }
        loop {
            pieces.push(self.piece(ins)?);
            let next = self.lex.bump();
            match next.kind {
                TokenKind::Mark(b',') => {}
                TokenKind::Mark(b')') => return Ok(pieces),
                _ => return Err(self.unexpected(next, "`,` or `)`")),
            }
        }
    }

    fn direct(
        &mut self,
        ins: &Instruction<'a>,
        id: FuncId,
        args: &[Piece<'a>],
        rets: &[Piece<'a>],
    ) -> Result<()> {
        let function = &self.module.functions[id.0 as usize];
        if function.is_entry {
            return Err(ins.refuse("of an entry is not supported: there is no dynamic parallelism"));
        }
        let sizes = |ids: &[LocalId]| -> Vec<(u32, u32)> {
            ids.iter()
                .filter_map(|id| function.locals.get(id.0 as usize))
                .map(|slot| (slot.size, slot.align))
                .collect()
        };
        let want = Prototype { rets: sizes(&function.rets), args: sizes(&function.args), listed: Vec::new() };
        let callee = match builtin(&function.name) {
            Some((callee, args, rets)) if function.blocks.is_empty() && self.code.id != Some(id) => {
                if want.args.len() != args || want.rets.len() != rets {
                    return Err(ins.fail(format!("of `{}` has the wrong parameters", function.name)));
                }
                callee
            }
            _ => Callee::Function(id),
        };
        self.pass(ins, callee, &want, args, rets)
    }

    fn indirect(
        &mut self,
        ins: &Instruction<'a>,
        reg: Reg,
        prototype: Token<'a>,
        args: &[Piece<'a>],
        rets: &[Piece<'a>],
    ) -> Result<()> {
        let Some(Found::Name(Name::Prototype(number))) = self.names.find(prototype.text) else {
            return Err(Diagnostic::malformed(
                prototype.place,
                format!("`{}` is no prototype", prototype.text),
            ));
        };
        let want = self.prototypes.get_mut(number as usize).map(std::mem::take).unwrap_or_default();
        let done = self.pass(ins, Callee::Indirect(reg), &want, args, rets);
        if let Some(slot) = self.prototypes.get_mut(number as usize) {
            *slot = want;
        }
        done
    }

    fn pass(
        &mut self,
        ins: &Instruction<'a>,
        callee: Callee,
        want: &Prototype,
        args: &[Piece<'a>],
        rets: &[Piece<'a>],
    ) -> Result<()> {
        if args.len() != want.args.len() || rets.len() != want.rets.len() {
            return Err(ins.fail(format!(
                "passes {} parameters and takes {} results, not {} and {}",
                args.len(),
                rets.len(),
                want.args.len(),
                want.rets.len()
            )));
        }
        let mark = self.code.passing_now;
        let mut passed = [Passed::default(), Passed::default()];
        for (piece, &(size, align)) in args.iter().zip(&want.args) {
            self.argument(ins, piece, size, align, &mut passed[0])?;
        }
        for (piece, &(size, align)) in rets.iter().zip(&want.rets) {
            self.result(piece, size, align, &mut passed[1])?;
        }
        self.code.passing_now = mark;
        let [args, rets] = passed;
        // A list is copied for each call that names it; that must not grow beyond the text.
        self.branch_entries = self.branch_entries.saturating_add(want.listed.len());
        if self.branch_entries > self.most_branch_entries {
            return Err(ins.refuse("is not supported where too many calls share a list of functions"));
        }
        let listed = want.listed.clone();
        let call = Call { callee, candidates: Vec::new(), listed, args: args.locals, rets: rets.locals };
        self.emit(ins, Op::Call(call));
        for (local, reg, ty) in rets.into {
            let address = Address { base: Base::Symbol(Symbol::Local(local)), offset: 0 };
            let dsts = vec![Some(reg)];
            self.emit(ins, Op::Load { space: Space::Local, ty, order: Order::Weak, dsts, address });
        }
        Ok(())
    }

    /// A variable of this call site with the size that the callee wants.
    fn variable(&self, piece: &Piece<'a>, size: u32) -> Result<Option<LocalId>> {
        let Arg::Symbol(Symbol::Local(id), 0) = piece.arg else { return Ok(None) };
        let have = self.code.locals.get(id.0 as usize).map_or(0, |slot| slot.size);
        if have == size {
            return Ok(Some(id));
        }
        Err(Diagnostic::malformed(
            piece.place,
            format!("the variable has {have} bytes and the parameter {size}"),
        ))
    }

    fn scratch(&mut self, piece: &Piece<'a>, size: u32, align: u32) -> Result<LocalId> {
        self.code.new_local(String::new(), size, align, Life::Scope).ok_or_else(|| {
            Diagnostic::unsupported(piece.place, "the variables of a function take too much room")
        })
    }

    fn argument(
        &mut self,
        ins: &Instruction<'a>,
        piece: &Piece<'a>,
        size: u32,
        align: u32,
        passed: &mut Passed,
    ) -> Result<()> {
        if let Some(id) = self.variable(piece, size)? {
            passed.locals.push(id);
            return Ok(());
        }
        // A register or a constant, stored first.
        let ty = Self::passed_type(piece, size)?;
        let value = self.piece_value(piece, ty, Fit::Exact)?;
        let local = self.scratch(piece, size, align)?;
        let address = Address { base: Base::Symbol(Symbol::Local(local)), offset: 0 };
        let store = Op::Store { space: Space::Local, ty, order: Order::Weak, srcs: vec![value], address };
        self.code.push(None, store, ins.place);
        passed.locals.push(local);
        Ok(())
    }

    fn result(&mut self, piece: &Piece<'a>, size: u32, align: u32, passed: &mut Passed) -> Result<()> {
        if let Some(id) = self.variable(piece, size)? {
            passed.locals.push(id);
            return Ok(());
        }
        let ty = Self::passed_type(piece, size)?;
        let reg = self.piece_dst(piece, ty, Fit::Exact)?;
        let local = self.scratch(piece, size, align)?;
        passed.locals.push(local);
        if let Some(reg) = reg {
            passed.into.push((local, reg, ty));
        }
        Ok(())
    }

    fn passed_type(piece: &Piece<'a>, size: u32) -> Result<Scalar> {
        if matches!(size, 1 | 2 | 4 | 8 | 16) {
            let ty = types::untyped(size * 8);
            return Ok(match piece.arg {
                Arg::Reg(_, RegClass::Pred) => Scalar::Pred,
                _ => ty,
            });
        }
        Err(Diagnostic::malformed(piece.place, format!("a parameter of {size} bytes is no register")))
    }

    /// Gives a prototype its name.
    pub(super) fn add_prototype(&mut self, name: Token<'a>, prototype: Prototype) -> Result<()> {
        let number = u32::try_from(self.prototypes.len()).unwrap_or(u32::MAX);
        self.prototypes.push(prototype);
        self.define_new(name, Name::Prototype(number))
    }

    /// Reads `.calltargets`: functions of one kind, of which one is called.
    pub(super) fn call_targets(&mut self, name: Token<'a>) -> Result<()> {
        self.lex.bump();
        let mut prototype: Option<Prototype> = None;
        loop {
            let token = self.word("a function")?;
            let Some(Found::Name(Name::Symbol(Symbol::Function(id)))) = self.names.find(token.text) else {
                return Err(Diagnostic::malformed(token.place, format!("`{}` is no function", token.text)));
            };
            let function = &self.module.functions[id.0 as usize];
            let sizes = |ids: &[LocalId]| -> Vec<(u32, u32)> {
                ids.iter()
                    .filter_map(|id| function.locals.get(id.0 as usize))
                    .map(|slot| (slot.size, slot.align))
                    .collect()
            };
            let (rets, args) = (sizes(&function.rets), sizes(&function.args));
            let list = prototype.get_or_insert_with(|| Prototype {
                rets: rets.clone(),
                args: args.clone(),
                listed: Vec::new(),
            });
            let bytes = |sizes: &[(u32, u32)]| sizes.iter().map(|size| size.0).collect::<Vec<u32>>();
            let is_alike = bytes(&list.rets) == bytes(&rets) && bytes(&list.args) == bytes(&args);
            if !is_alike || function.is_entry {
                let message = format!("`{}` is not called as the first function of the list", token.text);
                return Err(Diagnostic::malformed(token.place, message));
            }
            list.listed.push(id);
            let next = self.lex.bump();
            match next.kind {
                TokenKind::Mark(b',') => {}
                TokenKind::Mark(b';') => break,
                _ => return Err(self.unexpected(next, "`,` or `;`")),
            }
        }
        self.add_prototype(name, prototype.unwrap_or_default())
    }
}
