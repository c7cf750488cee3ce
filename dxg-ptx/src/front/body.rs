//! The body of a function: scopes, labels, declarations and instructions.

use crate::diagnostics::Diagnostic;
use crate::front::Parser;
use crate::front::Result;
use crate::front::code::Life;
use crate::front::lex::Token;
use crate::front::lex::TokenKind;
use crate::front::names::Defined;
use crate::front::names::Found;
use crate::front::names::Name;
use crate::front::operand::Instruction;
use crate::front::table;
use crate::front::table::Row;
use crate::ir::BlockId;
use crate::ir::Guard;
use crate::ir::Linkage;
use crate::ir::Place;
use crate::ir::Reg;
use crate::ir::RegClass;
use crate::ir::Space;

/// Nesting of scopes that is read.
const MOST_SCOPES: u32 = 1024;

impl<'a> Parser<'a> {
    /// Reads up to the brace that closes the body, and closes the scope of the parameters. Where the brace is.
    pub(super) fn body(&mut self) -> Result<Place> {
        let outer = self.names.depth();
        loop {
            let next = self.lex.peek();
            if next.is(b'}') {
                self.lex.bump();
                self.close_scope()?;
                if self.names.depth() < outer {
                    return Ok(next.place);
                }
                continue;
            }
            if next.kind == TokenKind::End {
                return Err(self.unexpected(next, "`}`"));
            }
            if let Err(problem) = self.statement() {
                self.note(problem)?;
                self.recover();
            }
        }
    }

    /// After a failure: up to the end of the statement.
    fn recover(&mut self) {
        if !self.is_within {
            return;
        }
        let mut open = self.operand_braces;
        loop {
            match self.lex.peek().kind {
                TokenKind::End => return,
                TokenKind::Mark(b'{') => open = open.saturating_add(1),
                TokenKind::Mark(b'}') if open == 0 => return,
                TokenKind::Mark(b'}') => open -= 1,
                TokenKind::Mark(b';') => {
                    self.lex.bump();
                    return;
                }
                _ => {}
            }
            self.lex.bump();
        }
    }

    fn close_scope(&mut self) -> Result<()> {
        if let Some(mark) = self.code.passing_marks.pop() {
            self.code.passing_now = mark;
        }
        let undefined = self.names.close();
        let is_last = self.code.passing_marks.is_empty() && self.names.depth() == 0;
        for (name, block) in undefined {
            if !is_last {
                // A label of an outer scope, maybe further below.
                match self.names.find(name) {
                    Some(Found::Name(Name::Label(other, _))) if other == block => {}
                    None => self.names.define(name, Name::Label(block, Defined::No)),
                    _ => self.undefined_label(name, block)?,
                }
                continue;
            }
            self.undefined_label(name, block)?;
        }
        Ok(())
    }

    fn undefined_label(&mut self, name: &str, block: BlockId) -> Result<()> {
        let place = self.code.label_uses.iter().find(|use_| use_.0 == block).map(|use_| use_.2);
        self.note(Diagnostic::malformed(
            place.unwrap_or(self.lex.peek().place),
            format!("the label `{name}` is not defined"),
        ))
    }

    /// The block of a label that is named, now or further below.
    pub(super) fn label(&mut self, name: &'a str, place: Place) -> Result<BlockId> {
        match self.names.find(name) {
            Some(Found::Name(Name::Label(block, _))) => Ok(block),
            Some(_) => Err(Diagnostic::malformed(place, format!("`{name}` is no label"))),
            None => {
                let block = self.code.new_block();
                self.names.define(name, Name::Label(block, Defined::No));
                self.code.label_uses.push((block, name, place));
                Ok(block)
            }
        }
    }

    fn statement(&mut self) -> Result<()> {
        self.is_within = true;
        self.operand_braces = 0;
        let token = self.lex.bump();
        match token.kind {
            TokenKind::Mark(b';') => Ok(()),
            TokenKind::Mark(b'{') => {
                if self.names.depth() >= MOST_SCOPES {
                    return Err(Diagnostic::malformed(token.place, "scopes are nested too deeply"));
                }
                self.names.open();
                self.code.passing_marks.push(self.code.passing_now);
                Ok(())
            }
            TokenKind::Mark(b'@') if self.lex.peek().is(b'@') => {
                self.lex.skip_line();
                Ok(())
            }
            TokenKind::Mark(b'@') => {
                let guard = self.guard()?;
                let opcode = self.word("an instruction")?;
                self.instruction(opcode, Some(guard))
            }
            TokenKind::Dotted => self.body_directive(token),
            TokenKind::Word if self.lex.peek().is(b':') => {
                self.lex.bump();
                self.define_label(token)
            }
            TokenKind::Word => self.instruction(token, None),
            _ => Err(self.unexpected(token, "an instruction")),
        }
    }

    fn guard(&mut self) -> Result<Guard> {
        let when = !self.lex.peek().is(b'!');
        if !when {
            self.lex.bump();
        }
        let token = self.word("a predicate")?;
        match self.resolve(token.text, token.place)? {
            crate::front::operand::Arg::Reg(reg, RegClass::Pred) => Ok(Guard { reg, when }),
            _ => Err(Diagnostic::malformed(token.place, format!("`{}` is no predicate", token.text))),
        }
    }

    fn define_label(&mut self, token: Token<'a>) -> Result<()> {
        let next = self.lex.peek();
        if next.kind == TokenKind::Dotted {
            match next.text {
                "branchtargets" => return self.branch_targets(token),
                "callprototype" => {
                    self.lex.bump();
                    let prototype = self.prototype()?;
                    return self.add_prototype(token, prototype);
                }
                "calltargets" => return self.call_targets(token),
                _ => {}
            }
        }
        match self.names.here(token.text) {
            Some(Name::Label(block, Defined::No)) => {
                self.names.redefine(token.text, Name::Label(block, Defined::Yes));
                self.code.place_block(block, token.place);
                Ok(())
            }
            None => {
                // A label of an enclosing scope that is named there and not defined yet is another one.
                let block = self.code.block_here(token.place);
                self.names.define(token.text, Name::Label(block, Defined::Yes));
                Ok(())
            }
            Some(_) => Err(Diagnostic::malformed(token.place, format!("`{}` is declared twice", token.text))),
        }
    }

    fn branch_targets(&mut self, name: Token<'a>) -> Result<()> {
        self.lex.bump();
        let mut targets = Vec::new();
        loop {
            let label = self.word("a label")?;
            targets.push(self.label(label.text, label.place)?);
            let next = self.lex.bump();
            match next.kind {
                TokenKind::Mark(b',') => {}
                TokenKind::Mark(b';') => break,
                _ => return Err(self.unexpected(next, "`,` or `;`")),
            }
        }
        let number = u32::try_from(self.branches.len()).unwrap_or(u32::MAX);
        self.branches.push(targets);
        self.define_new(name, Name::Branches(number))
    }

    fn body_directive(&mut self, token: Token<'a>) -> Result<()> {
        match token.text {
            "reg" => self.registers(),
            "local" => self.locals(Life::Activation),
            "param" => self.locals(Life::Scope),
            "shared" => self.variables(Space::Shared, Linkage::Local, token.place),
            "global" => self.variables(Space::Global, Linkage::Local, token.place),
            "const" => self.variables(Space::Const, Linkage::Local, token.place),
            "pragma" | "loc" | "file" | "section" => self.noise(token),
            other => Err(Diagnostic::malformed(token.place, format!("`.{other}` is no directive here"))),
        }
    }

    fn instruction(&mut self, opcode: Token<'a>, guard: Option<Guard>) -> Result<()> {
        let mut ins = self.spare.take().unwrap_or_else(|| Box::new(Instruction::new()));
        ins.opcode = opcode.text;
        ins.place = opcode.place;
        ins.guard = guard;
        ins.words.clear();
        ins.args.clear();
        ins.elements.clear();
        let done = self.lower(&mut ins);
        self.spare = Some(ins);
        done
    }

    fn lower(&mut self, ins: &mut Instruction<'a>) -> Result<()> {
        while self.lex.peek().kind == TokenKind::Dotted {
            let word = self.lex.bump();
            ins.words.push(word.text, word.place)?;
        }
        match table::find(ins.opcode) {
            Some(Row::Plain(lower)) => {
                self.operands(ins)?;
                lower(self, ins)
            }
            Some(Row::Whole(lower)) => lower(self, ins),
            Some(Row::Refused(reason)) => Err(ins.refuse(format!("is not supported: {reason}"))),
            None => Err(Diagnostic::malformed(ins.place, format!("`{}` is no instruction", ins.opcode))),
        }
    }

    /// A new register with the value of a predicate turned round.
    pub(super) fn negated(&mut self, reg: Reg, place: Place) -> Reg {
        let dst = self.code.new_reg(RegClass::Pred);
        let mut alu = crate::front::lower::alu(crate::ir::AluOp::Not, crate::ir::Scalar::Pred);
        alu.dst = Some(dst);
        alu.src[0] = Some(crate::ir::Operand::Reg(reg));
        self.code.push(None, crate::ir::Op::Alu(alu), place);
        dst
    }
}
