//! What stands at the top of a module: its version, variables, functions.

use crate::diagnostics::Diagnostic;
use crate::diagnostics::DiagnosticKind;
use crate::front::Go;
use crate::front::Parser;
use crate::front::Prototype;
use crate::front::Result;
use crate::front::code::Code;
use crate::front::code::Kind;
use crate::front::code::Life;
use crate::front::code::RegisterParam;
use crate::front::directive::Declared;
use crate::front::lex::Token;
use crate::front::lex::TokenKind;
use crate::front::names::Found;
use crate::front::names::Name;
use crate::front::types;
use crate::ir::Address;
use crate::ir::Base;
use crate::ir::FuncId;
use crate::ir::Function;
use crate::ir::Linkage;
use crate::ir::LocalId;
use crate::ir::Module;
use crate::ir::Op;
use crate::ir::Operand;
use crate::ir::Order;
use crate::ir::Place;
use crate::ir::Slot;
use crate::ir::Space;
use crate::ir::Symbol;
use crate::ir::Terminator;
use crate::link;

/// The newest major version that is read.
const NEWEST: u32 = 9;

/// The largest parameter block.
const MOST_PARAM_BYTES: u32 = 32764;

/// Whose parameters are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Entry,
    Func,
}

impl<'a> Parser<'a> {
    /// Reads the whole text.
    pub(super) fn module(&mut self) {
        if let Err(problem) = self.head() {
            self.report(problem);
            return;
        }
        while self.lex.peek().kind != TokenKind::End {
            let Err(problem) = self.top() else { continue };
            // What stands outside of functions has no ends to go on from.
            self.report(problem);
            return;
        }
    }

    fn head(&mut self) -> Result<()> {
        let first = self.lex.bump();
        if first.kind != TokenKind::Dotted || first.text != "version" {
            return Err(self.unexpected(first, "`.version`"));
        }
        let number = self.lex.bump();
        let parts = number
            .text
            .split_once('.')
            .and_then(|(major, minor)| Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?)));
        let Some(version) = parts else { return Err(self.unexpected(number, "a version")) };
        if version.0 > NEWEST {
            return Err(Diagnostic {
                place: number.place,
                kind: DiagnosticKind::UnsupportedVersion,
                message: format!("PTX ISA {} is newer than {NEWEST}.x", number.text),
            });
        }
        self.module.version = version;
        Ok(())
    }

    fn top(&mut self) -> Result<()> {
        let mut linkage = Linkage::Local;
        loop {
            let token = self.lex.bump();
            if token.is(b';') {
                return Ok(());
            }
            if token.is(b'@') {
                self.lex.skip_line();
                return Ok(());
            }
            if token.kind != TokenKind::Dotted {
                return Err(self.unexpected(token, "a directive"));
            }
            match token.text {
                "visible" => linkage = Linkage::Visible,
                "extern" => linkage = Linkage::Extern,
                "weak" => linkage = Linkage::Weak,
                "common" => linkage = Linkage::Common,
                "target" => return self.target(),
                "address_size" => return self.address_size(),
                "entry" => return self.entry(linkage, token.place),
                "func" => return self.func(linkage, token.place),
                "alias" => return self.alias(),
                "global" => return self.variables(Space::Global, linkage, token.place),
                "const" => return self.variables(Space::Const, linkage, token.place),
                "shared" => return self.variables(Space::Shared, linkage, token.place),
                "file" | "pragma" | "loc" | "section" => return self.noise(token),
                "tex" | "texref" | "surfref" | "samplerref" => {
                    return Err(Diagnostic::unsupported(
                        token.place,
                        format!("`.{}`: textures and surfaces are not supported", token.text),
                    ));
                }
                "version" => return Err(Diagnostic::malformed(token.place, "`.version` stands once")),
                other => {
                    return Err(Diagnostic::malformed(
                        token.place,
                        format!("`.{other}` is no directive here"),
                    ));
                }
            }
        }
    }

    fn target(&mut self) -> Result<()> {
        loop {
            let token = self.lex.bump();
            if token.kind != TokenKind::Word {
                return Err(self.unexpected(token, "a target"));
            }
            let sm = token.text.strip_prefix("sm_").or_else(|| token.text.strip_prefix("compute_"));
            if let Some(sm) = sm {
                let digits = sm.trim_end_matches(['a', 'f']);
                self.module.target_sm =
                    digits.parse().map_err(|_| self.unexpected(token, "an architecture such as sm_75"))?;
            }
            if !self.lex.peek().is(b',') {
                return Ok(());
            }
            self.lex.bump();
        }
    }

    fn address_size(&mut self) -> Result<()> {
        let token = self.lex.bump();
        match token.text {
            "64" => Ok(()),
            "32" => Err(Diagnostic::unsupported(token.place, "32-bit addresses are not supported")),
            _ => Err(self.unexpected(token, "32 or 64")),
        }
    }

    /// Goes over what says nothing about the program.
    pub(super) fn noise(&mut self, directive: Token<'a>) -> Result<()> {
        match directive.text {
            "pragma" => loop {
                let token = self.lex.bump();
                match token.kind {
                    TokenKind::Mark(b';') => return Ok(()),
                    TokenKind::Text | TokenKind::Mark(b',') => {}
                    _ => return Err(self.unexpected(token, "a string")),
                }
            },
            "file" | "loc" => {
                // These end where their line ends.
                while self.lex.peek().place.line == directive.place.line
                    && !matches!(
                        self.lex.peek().kind,
                        TokenKind::End | TokenKind::Dotted | TokenKind::Mark(b'{' | b'}' | b';' | b'@')
                    )
                {
                    self.lex.bump();
                }
                Ok(())
            }
            _ => {
                // A section: its braces do not nest.
                while !self.lex.peek().is(b'{') {
                    let token = self.lex.bump();
                    if matches!(token.kind, TokenKind::End | TokenKind::Bad) {
                        return Err(self.unexpected(token, "`{`"));
                    }
                }
                loop {
                    let token = self.lex.bump();
                    match token.kind {
                        TokenKind::Mark(b'}') => return Ok(()),
                        TokenKind::End | TokenKind::Bad => return Err(self.unexpected(token, "`}`")),
                        _ => {}
                    }
                }
            }
        }
    }

    fn alias(&mut self) -> Result<()> {
        let alias = self.function_name()?;
        self.expect(b',')?;
        let target = self.function_name()?;
        self.expect(b';')?;
        self.aliases.push((alias, target));
        Ok(())
    }

    fn function_name(&mut self) -> Result<FuncId> {
        let token = self.word("the name of a function")?;
        match self.names.find(token.text) {
            Some(Found::Name(Name::Symbol(Symbol::Function(id)))) => Ok(id),
            _ => Err(Diagnostic::malformed(token.place, format!("`{}` is no function", token.text))),
        }
    }

    /// The function of a name: a new one, or the one that was declared before.
    fn declare(&mut self, name: Token<'a>, linkage: Linkage, owner: Owner) -> Result<FuncId> {
        let is_entry = owner == Owner::Entry;
        match self.names.here(name.text) {
            None => {
                let id = FuncId(u32::try_from(self.module.functions.len()).unwrap_or(u32::MAX));
                self.module.functions.push(Function {
                    name: name.text.to_owned(),
                    is_entry,
                    linkage,
                    place: name.place,
                    ..Function::default()
                });
                self.names.define(name.text, Name::Symbol(Symbol::Function(id)));
                Ok(id)
            }
            Some(Name::Symbol(Symbol::Function(id))) => {
                let before = &mut self.module.functions[id.0 as usize];
                if before.is_entry != is_entry {
                    let message = format!("`{}` is declared as entry and as function", name.text);
                    return Err(Diagnostic::malformed(name.place, message));
                }
                // A declaration adds nothing to a definition; a definition says more than a declaration.
                if before.linkage == Linkage::Extern || before.linkage == Linkage::Local {
                    before.linkage = linkage;
                }
                Ok(id)
            }
            Some(_) => Err(Diagnostic::malformed(name.place, format!("`{}` is declared twice", name.text))),
        }
    }

    fn entry(&mut self, linkage: Linkage, place: Place) -> Result<()> {
        let name = self.word("the name of an entry")?;
        let id = self.declare(name, linkage, Owner::Entry)?;
        self.names.open();
        let mut params: Vec<Slot> = Vec::new();
        let mut bytes = 0_u32;
        if self.lex.peek().is(b'(') {
            self.lex.bump();
            while !self.lex.peek().is(b')') {
                let declared = self.param()?;
                let at = declared.name.place;
                let offset = bytes.checked_next_multiple_of(declared.align);
                let end = offset.and_then(|offset| offset.checked_add(declared.size_u32()?));
                let (Some(offset), Some(end)) = (offset, end.filter(|&end| end <= MOST_PARAM_BYTES)) else {
                    return Err(Diagnostic::unsupported(at, "the parameters take too much room"));
                };
                let number = u32::try_from(params.len()).unwrap_or(u32::MAX);
                bytes = end;
                params.push(Slot {
                    name: declared.name.text.to_owned(),
                    offset,
                    size: end - offset,
                    align: declared.align,
                });
                self.define_new(declared.name, Name::Symbol(Symbol::Param(number)))?;
                self.comma_before(b')')?;
            }
            self.lex.bump();
        }
        self.limits(id)?;
        let function = &mut self.module.functions[id.0 as usize];
        let is_defined = !function.blocks.is_empty();
        if !is_defined {
            function.params = params;
            function.param_bytes = bytes;
        }
        let code = Code::new(Some(id), Kind::Entry);
        self.definition(id, code, Vec::new(), place)
    }

    fn func(&mut self, linkage: Linkage, place: Place) -> Result<()> {
        if self.lex.peek().text == "attribute" {
            self.lex.bump();
            self.attributes()?;
        }
        self.code = Code::new(None, Kind::Func);
        self.param_names.clear();
        let (rets, register_rets) =
            if self.lex.peek().is(b'(') { self.func_params()? } else { Default::default() };
        let name = self.word("the name of a function")?;
        let (args, register_args) =
            if self.lex.peek().is(b'(') { self.func_params()? } else { Default::default() };
        self.agrees(name, &args, &rets)?;
        // The function belongs to the module, its parameters to its own scope.
        let id = self.declare(name, linkage, Owner::Func)?;
        self.names.open();
        let mut code = std::mem::take(&mut self.code);
        for (index, slot) in code.locals.iter().enumerate() {
            let reg =
                register_rets.iter().chain(&register_args).find(|param| param.local.0 as usize == index);
            let local = LocalId(u32::try_from(index).unwrap_or(u32::MAX));
            let meaning = match reg {
                Some(param) => Name::Reg(param.reg, types::class(param.ty)),
                None => Name::Symbol(Symbol::Local(local)),
            };
            let name = self.param_names.get(index).copied().unwrap_or("_");
            if !slot.name.is_empty() && name != "_" {
                self.names.define(name, meaning);
            }
        }
        code.id = Some(id);
        code.register_rets = register_rets;
        self.limits(id)?;
        let function = &mut self.module.functions[id.0 as usize];
        if function.blocks.is_empty() {
            function.locals.clone_from(&code.locals);
            function.args = args;
            function.rets = rets;
        }
        self.definition(id, code, register_args, place)
    }

    /// Fails if a function was declared with other parameters before.
    fn agrees(&self, name: Token<'a>, args: &[LocalId], rets: &[LocalId]) -> Result<()> {
        let Some(Name::Symbol(Symbol::Function(id))) = self.names.here(name.text) else { return Ok(()) };
        let before = &self.module.functions[id.0 as usize];
        let size = |slots: &[Slot], id: &LocalId| slots.get(id.0 as usize).map_or(0, |slot| slot.size);
        let are_same = |old: &[LocalId], new: &[LocalId]| {
            let old = old.iter().map(|id| size(&before.locals, id));
            old.eq(new.iter().map(|id| size(&self.code.locals, id)))
        };
        if before.is_entry || are_same(&before.args, args) && are_same(&before.rets, rets) {
            return Ok(());
        }
        let message = format!("`{}` was declared with other parameters before", name.text);
        Err(Diagnostic::malformed(name.place, message))
    }

    /// Reads the parameters of a function; they become the first variables of its frame.
    fn func_params(&mut self) -> Result<(Vec<LocalId>, Vec<RegisterParam>)> {
        let mut locals = Vec::new();
        let mut registers = Vec::new();
        self.lex.bump();
        while !self.lex.peek().is(b')') {
            let is_register = self.lex.peek().text == "reg";
            let declared = self.param()?;
            let name = declared.name;
            if name.text != "_" && self.param_names.contains(&name.text) && self.param_names.len() < 256 {
                return Err(Diagnostic::malformed(name.place, format!("`{}` is declared twice", name.text)));
            }
            let local = self.frame_variable(&declared, Life::Activation)?;
            self.param_names.push(name.text);
            if is_register {
                let reg = self.code.temp(declared.ty);
                registers.push(RegisterParam { local, reg, ty: declared.ty });
            }
            locals.push(local);
            self.comma_before(b')')?;
        }
        self.lex.bump();
        Ok((locals, registers))
    }

    /// A variable of the frame.
    pub(super) fn frame_variable(&mut self, declared: &Declared<'a>, life: Life) -> Result<LocalId> {
        let name = declared.name;
        self.code.elements.resize(self.code.locals.len(), 1);
        self.code.elements.push(u32::try_from(declared.element_bytes()).unwrap_or(1));
        declared
            .size_u32()
            .and_then(|size| self.code.new_local(name.text.to_owned(), size, declared.align, life))
            .ok_or_else(|| {
                Diagnostic::unsupported(name.place, "the variables of a function take too much room")
            })
    }

    /// Reads one parameter: `.param` or `.reg`, its type and name.
    pub(super) fn param(&mut self) -> Result<Declared<'a>> {
        let token = self.lex.bump();
        if token.kind != TokenKind::Dotted || !matches!(token.text, "param" | "reg") {
            return Err(self.unexpected(token, "`.param`"));
        }
        self.declaration()
    }

    pub(super) fn comma_before(&mut self, end: u8) -> Result<()> {
        let next = self.lex.peek();
        if next.is(b',') {
            self.lex.bump();
            if self.lex.peek().is(end) {
                return Err(self.unexpected(self.lex.peek(), "a parameter"));
            }
            return Ok(());
        }
        if next.is(end) { Ok(()) } else { Err(self.unexpected(next, "`,`")) }
    }

    /// Reads what stands between parameters and body.
    fn limits(&mut self, id: FuncId) -> Result<()> {
        loop {
            let token = self.lex.peek();
            if token.kind != TokenKind::Dotted {
                return Ok(());
            }
            self.lex.bump();
            match token.text {
                "maxntid" | "reqntid" => {
                    let mut extents = [1; 3];
                    for (index, extent) in extents.iter_mut().enumerate() {
                        if index > 0 {
                            if !self.lex.peek().is(b',') {
                                break;
                            }
                            self.lex.bump();
                        }
                        *extent = self.small("a number of threads")?;
                    }
                    let limits = &mut self.module.functions[id.0 as usize].limits;
                    if token.text == "maxntid" {
                        limits.max_threads = extents;
                    } else {
                        limits.required_threads = extents;
                    }
                }
                "minnctapersm" => {
                    let number = self.small("a number")?;
                    self.module.functions[id.0 as usize].limits.min_blocks_per_sm = number;
                }
                "maxnreg" => {
                    let number = self.small("a number")?;
                    self.module.functions[id.0 as usize].limits.max_registers = number;
                }
                "maxnctapersm" | "abi_preserve" | "abi_preserve_control" | "stack_size" => {
                    self.small("a number")?;
                }
                "noreturn" | "unique" => {}
                "attribute" => {
                    self.attributes()?;
                }
                "pragma" => self.noise(token)?,
                // Each block is a cluster of its own.
                "maxclusterrank" => {
                    self.small("a number of blocks")?;
                }
                "reqnctapercluster" => loop {
                    if self.small("a number of blocks")? != 1 {
                        return Err(no_clusters(token));
                    }
                    if !self.lex.peek().is(b',') {
                        break;
                    }
                    self.lex.bump();
                },
                "explicitcluster" | "blocksareclusters" => return Err(no_clusters(token)),
                other => {
                    return Err(Diagnostic::malformed(
                        token.place,
                        format!("`.{other}` is no directive here"),
                    ));
                }
            }
        }
    }

    /// Reads a body, or the semicolon of a declaration; closes the scope of the parameters.
    fn definition(
        &mut self,
        id: FuncId,
        code: Code<'a>,
        register_args: Vec<RegisterParam>,
        place: Place,
    ) -> Result<()> {
        let next = self.lex.bump();
        match next.kind {
            TokenKind::Mark(b';') => {
                self.names.close();
                return Ok(());
            }
            TokenKind::Mark(b'{') => {}
            _ => return Err(self.unexpected(next, "`{` or `;`")),
        }
        if !self.module.functions[id.0 as usize].blocks.is_empty() {
            let message = format!("`{}` is defined twice", self.module.functions[id.0 as usize].name);
            return Err(Diagnostic::malformed(place, message));
        }
        self.code = code;
        for param in register_args {
            let address = Address { base: Base::Symbol(Symbol::Local(param.local)), offset: 0 };
            let dsts = vec![Some(param.reg)];
            let op = Op::Load { space: Space::Local, ty: param.ty, order: Order::Weak, dsts, address };
            self.code.push(None, op, place);
        }
        let end = self.body()?;
        if self.code.is_open() || !self.code.has_blocks() {
            self.lower_return(None, end);
        }
        let (blocks, local_bytes) = self.code.finish();
        let code = std::mem::take(&mut self.code);
        let function = &mut self.module.functions[id.0 as usize];
        function.place = place;
        function.blocks = blocks;
        function.local_bytes = local_bytes;
        function.local_align = code.local_align.max(16);
        function.locals = code.locals;
        function.regs = code.regs;
        Ok(())
    }

    /// A return, after the results that are registers are stored.
    pub(super) fn lower_return(&mut self, guard: Option<crate::ir::Guard>, place: Place) {
        for index in 0..self.code.register_rets.len() {
            let param = self.code.register_rets[index];
            let address = Address { base: Base::Symbol(Symbol::Local(param.local)), offset: 0 };
            let srcs = vec![Operand::Reg(param.reg)];
            let op = Op::Store { space: Space::Local, ty: param.ty, order: Order::Weak, srcs, address };
            self.code.push(guard, op, place);
        }
        self.code.end_guarded(guard, Terminator::Return, place);
    }

    /// Gives a name its meaning, which it may not have in this scope.
    pub(super) fn define_new(&mut self, name: Token<'a>, meaning: Name) -> Result<()> {
        if name.text == "_" {
            return Ok(());
        }
        match self.names.here(name.text) {
            None => {
                self.names.define(name.text, meaning);
                Ok(())
            }
            Some(_) => Err(Diagnostic::malformed(name.place, format!("`{}` is declared twice", name.text))),
        }
    }

    /// A prototype from declared parameters.
    pub(super) fn prototype(&mut self) -> Result<Prototype> {
        let mut prototype = Prototype::default();
        if self.lex.peek().is(b'(') {
            prototype.rets = self.prototype_params()?;
        }
        self.word("`_`")?;
        if self.lex.peek().is(b'(') {
            prototype.args = self.prototype_params()?;
        }
        while self.lex.peek().kind == TokenKind::Dotted {
            let token = self.lex.bump();
            match token.text {
                "noreturn" => {}
                "abi_preserve" | "abi_preserve_control" => drop(self.small("a number")?),
                other => {
                    return Err(Diagnostic::malformed(
                        token.place,
                        format!("`.{other}` is no directive here"),
                    ));
                }
            }
        }
        self.expect(b';')?;
        Ok(prototype)
    }

    fn prototype_params(&mut self) -> Result<Vec<(u32, u32)>> {
        self.lex.bump();
        let mut params = Vec::new();
        while !self.lex.peek().is(b')') {
            let declared = self.param()?;
            let size = declared.size_u32();
            let Some(size) = size else {
                return Err(Diagnostic::unsupported(declared.name.place, "a parameter is too large"));
            };
            params.push((size, declared.align));
            self.comma_before(b')')?;
        }
        self.lex.bump();
        Ok(params)
    }

    /// Everything read: aliases and candidates of indirect calls are settled.
    pub(super) fn finish(&mut self) -> Result<Module> {
        let mut module = std::mem::take(&mut self.module);
        link::apply_aliases(&mut module, &self.aliases)?;
        link::find_candidates(&mut module)?;
        Ok(module)
    }

    /// Takes a mark, or fails.
    pub(super) fn expect(&mut self, mark: u8) -> Result<()> {
        if self.lex.peek().is(mark) {
            self.lex.bump();
            return Ok(());
        }
        Err(self.unexpected(self.lex.peek(), &format!("`{}`", char::from(mark))))
    }

    /// Takes a name, or fails.
    pub(super) fn word(&mut self, what: &str) -> Result<Token<'a>> {
        if self.lex.peek().kind == TokenKind::Word {
            return Ok(self.lex.bump());
        }
        Err(self.unexpected(self.lex.peek(), what))
    }

    /// Takes a small number, or fails.
    pub(super) fn small(&mut self, what: &str) -> Result<u32> {
        let token = self.lex.bump();
        let value = crate::front::literal::Literal::read(token.text).and_then(|value| value.integer());
        match value.and_then(|value| u32::try_from(value).ok()) {
            Some(value) if token.kind == TokenKind::Number => Ok(value),
            _ => Err(self.unexpected(token, what)),
        }
    }

    /// A failure at a token that should be something else.
    pub(super) fn unexpected(&self, token: Token<'_>, want: &str) -> Diagnostic {
        let message = match token.kind {
            TokenKind::End => format!("the text ends where {want} is expected"),
            TokenKind::Bad if token.text.len() > 4 => format!("{} where {want} is expected", token.text),
            TokenKind::Dotted => format!("`.{}` where {want} is expected", clip(token.text)),
            TokenKind::Text => format!("a string where {want} is expected"),
            _ => format!("`{}` where {want} is expected", clip(token.text)),
        };
        Diagnostic::malformed(token.place, message)
    }

    /// Notes a failure within a body.
    pub(super) fn note(&mut self, problem: Diagnostic) -> Result<()> {
        match self.report(problem) {
            Go::On => Ok(()),
            Go::Stop => Err(Diagnostic::malformed(self.lex.peek().place, "too many errors")),
        }
    }
}

/// The beginning of a long word.
fn clip(text: &str) -> &str {
    text.char_indices().nth(64).map_or(text, |(end, _)| &text[..end])
}

/// A directive that wants clusters of several blocks.
fn no_clusters(token: Token<'_>) -> Diagnostic {
    Diagnostic::unsupported(token.place, format!("`.{}`: clusters are not supported", token.text))
}
