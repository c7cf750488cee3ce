//! Declarations: types, names and sizes of registers, variables and parameters.

use crate::diagnostics::Diagnostic;
use crate::front::Parser;
use crate::front::Result;
use crate::front::code::Life;
use crate::front::lex::Token;
use crate::front::lex::TokenKind;
use crate::front::names::Name;
use crate::front::types;
use crate::ir::Global;
use crate::ir::GlobalId;
use crate::ir::Linkage;
use crate::ir::Place;
use crate::ir::Scalar;
use crate::ir::Space;
use crate::ir::Symbol;

/// The largest variable: more than any device has.
const MOST_VARIABLE_BYTES: u64 = 1 << 44;

/// What a declaration says.
#[derive(Clone, Debug)]
pub(super) struct Declared<'a> {
    pub(super) name: Token<'a>,
    pub(super) ty: Scalar,
    /// Elements of a vector; 1 for a scalar.
    pub(super) lanes: u32,
    /// Of an array, from the outermost; the first is 0 where the text leaves it out.
    pub(super) extents: Vec<u64>,
    pub(super) align: u32,
    /// Bytes; 0 if the first extent is left out.
    pub(super) size: u64,
}

impl Declared<'_> {
    pub(super) fn size_u32(&self) -> Option<u32> {
        u32::try_from(self.size).ok()
    }

    /// Bytes of an element of the array: a scalar or a vector.
    pub(super) fn element_bytes(&self) -> u64 {
        u64::from(self.ty.size_bytes()) * u64::from(if self.lanes == 3 { 4 } else { self.lanes })
    }
}

/// What stands before a name.
#[derive(Clone, Copy, Debug)]
struct Specifier {
    ty: Scalar,
    lanes: u32,
    align: Option<u32>,
    is_managed: bool,
}

impl<'a> Parser<'a> {
    /// Reads type, name and extents.
    pub(super) fn declaration(&mut self) -> Result<Declared<'a>> {
        let specifier = self.specifier()?;
        self.declarator(specifier)
    }

    fn specifier(&mut self) -> Result<Specifier> {
        let mut specifier = Specifier { ty: Scalar::B8, lanes: 1, align: None, is_managed: false };
        let mut ty = None;
        while self.lex.peek().kind == TokenKind::Dotted {
            let token = self.lex.bump();
            match token.text {
                "align" => {
                    let align = self.small("an alignment")?;
                    if !align.is_power_of_two() || align > 1 << 16 {
                        return Err(Diagnostic::malformed(
                            token.place,
                            "an alignment is a power of two up to 65536",
                        ));
                    }
                    specifier.align = Some(align);
                }
                "v2" => specifier.lanes = 2,
                "v4" => specifier.lanes = 4,
                "v8" => specifier.lanes = 8,
                "ptr" => self.pointer()?,
                "attribute" => specifier.is_managed |= self.attributes()?,
                "texref" | "surfref" | "samplerref" => {
                    let message = format!("`.{}`: textures and surfaces are not supported", token.text);
                    return Err(Diagnostic::unsupported(token.place, message));
                }
                name => match types::scalar(name) {
                    Some(scalar) if ty.is_none() => ty = Some(scalar),
                    _ => return Err(Diagnostic::malformed(token.place, format!("`.{name}` is no type"))),
                },
            }
        }
        match ty {
            Some(ty) => Ok(Specifier { ty, ..specifier }),
            None => Err(self.unexpected(self.lex.peek(), "a type")),
        }
    }

    /// What is said of a pointer parameter says nothing about the program.
    fn pointer(&mut self) -> Result<()> {
        loop {
            match self.lex.peek().text {
                "global" | "shared" | "const" | "local" | "param" => drop(self.lex.bump()),
                "align" => {
                    self.lex.bump();
                    self.small("an alignment")?;
                }
                _ => return Ok(()),
            }
            if self.lex.peek().kind != TokenKind::Dotted {
                return Ok(());
            }
        }
    }

    /// Reads `(.managed)` and the like. Whether it says that.
    pub(super) fn attributes(&mut self) -> Result<bool> {
        self.expect(b'(')?;
        let mut is_managed = false;
        let mut open = 1_u32;
        while open > 0 {
            let token = self.lex.bump();
            match token.kind {
                TokenKind::Mark(b'(') => open = open.saturating_add(1),
                TokenKind::Mark(b')') => open -= 1,
                TokenKind::Dotted if token.text == "managed" => is_managed = true,
                TokenKind::Dotted | TokenKind::Number | TokenKind::Mark(b',') => {}
                _ => return Err(self.unexpected(token, "an attribute")),
            }
        }
        Ok(is_managed)
    }

    fn declarator(&mut self, specifier: Specifier) -> Result<Declared<'a>> {
        let name = self.word("a name")?;
        let mut extents = Vec::new();
        while self.lex.peek().is(b'[') {
            self.lex.bump();
            if self.lex.peek().is(b']') && extents.is_empty() {
                extents.push(0);
            } else {
                let value = self.constant()?.integer().filter(|&value| value <= MOST_VARIABLE_BYTES);
                let Some(value) = value else {
                    return Err(Diagnostic::malformed(name.place, "an array has no such extent"));
                };
                extents.push(value);
            }
            self.expect(b']')?;
            if extents.len() > 16 {
                return Err(Diagnostic::malformed(name.place, "an array has too many dimensions"));
            }
        }
        let mut declared = Declared {
            name,
            ty: specifier.ty,
            lanes: specifier.lanes,
            extents,
            align: specifier.align.unwrap_or(1),
            size: 0,
        };
        let element = declared.element_bytes();
        if specifier.align.is_none() {
            declared.align = u32::try_from(element).unwrap_or(1).next_power_of_two();
        }
        let size = declared.extents.iter().try_fold(element, |size, &extent| size.checked_mul(extent));
        match size.filter(|&size| size <= MOST_VARIABLE_BYTES) {
            Some(size) => declared.size = size,
            None => return Err(Diagnostic::unsupported(name.place, "a variable is too large")),
        }
        Ok(declared)
    }

    /// Reads `.reg` after its directive.
    pub(super) fn registers(&mut self) -> Result<()> {
        let specifier = self.specifier()?;
        let class = types::class(specifier.ty);
        loop {
            let name = self.word("the name of a register")?;
            if self.lex.peek().is(b'<') {
                self.lex.bump();
                let count = self.small("a number of registers")?;
                self.expect(b'>')?;
                if !self.names.define_family(name.text, count, class, specifier.lanes) {
                    let message = format!("`{}` is declared twice", name.text);
                    return Err(Diagnostic::malformed(name.place, message));
                }
            } else {
                let first = self.code.new_reg(class);
                for _ in 1..specifier.lanes {
                    self.code.new_reg(class);
                }
                let meaning = match specifier.lanes {
                    1 => Name::Reg(first, class),
                    lanes => Name::Vector(first, class, lanes),
                };
                self.define_new(name, meaning)?;
            }
            if !self.lex.peek().is(b',') {
                return self.expect(b';');
            }
            self.lex.bump();
        }
    }

    /// Reads `.local`, or `.param` within a body, after its directive.
    pub(super) fn locals(&mut self, life: Life) -> Result<()> {
        let specifier = self.specifier()?;
        loop {
            let declared = self.declarator(specifier)?;
            let local = self.frame_variable(&declared, life)?;
            self.define_new(declared.name, Name::Symbol(Symbol::Local(local)))?;
            if !self.lex.peek().is(b',') {
                return self.expect(b';');
            }
            self.lex.bump();
        }
    }

    /// Reads `.global`, `.const` or `.shared` after its directive.
    pub(super) fn variables(&mut self, space: Space, linkage: Linkage, place: Place) -> Result<()> {
        let specifier = self.specifier()?;
        loop {
            let mut declared = self.declarator(specifier)?;
            let mut global = Global {
                name: declared.name.text.to_owned(),
                space,
                align: declared.align,
                size: declared.size,
                init: Vec::new(),
                relocations: Vec::new(),
                linkage,
                is_managed: specifier.is_managed,
                place,
            };
            if self.lex.peek().is(b'=') {
                self.lex.bump();
                if space == Space::Shared {
                    return Err(Diagnostic::malformed(
                        declared.name.place,
                        "a shared variable has no initial value",
                    ));
                }
                self.initialiser(&mut declared, &mut global)?;
            }
            let element = u32::try_from(declared.element_bytes()).unwrap_or(1);
            self.add_global(declared.name, global, element)?;
            if !self.lex.peek().is(b',') {
                return self.expect(b';');
            }
            self.lex.bump();
        }
    }

    /// A new variable, or a better description of one that was declared before.
    fn add_global(&mut self, name: Token<'a>, global: Global, element_bytes: u32) -> Result<()> {
        if let Some(Name::Symbol(Symbol::Global(id))) = self.names.here(name.text) {
            let before = &mut self.module.globals[id.0 as usize];
            let is_open = |linkage| matches!(linkage, Linkage::Extern | Linkage::Common | Linkage::Weak);
            if before.space == global.space && (is_open(before.linkage) || is_open(global.linkage)) {
                if before.linkage == Linkage::Extern && global.linkage != Linkage::Extern {
                    *before = global;
                }
                return Ok(());
            }
        }
        let id = GlobalId(u32::try_from(self.module.globals.len()).unwrap_or(u32::MAX));
        self.define_new(name, Name::Symbol(Symbol::Global(id)))?;
        self.module.globals.push(global);
        self.global_elements.push(element_bytes);
        Ok(())
    }
}
