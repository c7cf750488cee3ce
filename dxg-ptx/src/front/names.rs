//! What names mean, by scope.
//!
//! A numbered family of registers (`%r<100>`) is one entry; its registers come into being when they are first named.

use crate::front::hash::Map;
use crate::ir::BlockId;
use crate::ir::Reg;
use crate::ir::RegClass;
use crate::ir::Symbol;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// One register.
    Reg(Reg, RegClass),
    /// A vector register: so many from the first.
    Vector(Reg, RegClass, u32),
    /// A variable, a parameter or a function.
    Symbol(Symbol),
    /// A block; not yet defined if the second is not set.
    Label(BlockId, Defined),
    /// A list of labels (`.branchtargets`), by number.
    Branches(u32),
    /// A prototype or a list of functions, by number.
    Prototype(u32),
}

/// Whether a label was seen or only named so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Defined {
    Yes,
    No,
}

/// A family of registers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    /// Its number.
    pub(super) id: u32,
    /// How many there are.
    pub(super) count: u32,
    /// What each is.
    pub(super) class: RegClass,
    /// Elements of each; 1 for a scalar.
    pub(super) lanes: u32,
}

/// Of a member that was not named yet.
const NO_REG: Reg = Reg(u32::MAX);

/// A scoped table of names.
#[derive(Debug, Default)]
pub(super) struct Names<'a> {
    exact: Map<&'a str, (u32, Name)>,
    families: Map<&'a str, (u32, Family)>,
    /// Of each family the registers of its first members.
    first_members: Vec<Vec<Reg>>,
    /// Those of members far beyond the ones that were named before.
    far_members: Map<(u32, u32), Reg>,
    /// By the first byte: whether a name that is no member of a family ends in a digit.
    numbered: Option<Box<[bool; 256]>>,
    family_count: u32,
    /// Whether the prefix of any family ends in a digit.
    digit_prefixes: bool,
    undo: Vec<Undo<'a>>,
    scopes: Vec<usize>,
}

#[derive(Debug)]
enum Undo<'a> {
    Exact(&'a str, Option<(u32, Name)>),
    Family(&'a str, Option<(u32, Family)>),
}

/// What a look-up found.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found {
    /// A name.
    Name(Name),
    /// A member of a family that was not named before: the family, and which.
    NewMember(Family, u32),
}

impl<'a> Names<'a> {
    /// How many scopes are open.
    pub(super) fn depth(&self) -> u32 {
        u32::try_from(self.scopes.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn open(&mut self) {
        self.scopes.push(self.undo.len());
    }

    /// Closes a scope; labels that were named in it and not defined come out.
    pub(super) fn close(&mut self) -> Vec<(&'a str, BlockId)> {
        let mut undefined = Vec::new();
        let start = self.scopes.pop().unwrap_or(0);
        for undo in self.undo.drain(start..).rev() {
            match undo {
                Undo::Exact(name, before) => {
                    let now = match before {
                        Some(before) => self.exact.insert(name, before),
                        None => self.exact.remove(name),
                    };
                    if let Some((_, Name::Label(block, Defined::No))) = now {
                        undefined.push((name, block));
                    }
                }
                Undo::Family(name, Some(before)) => drop(self.families.insert(name, before)),
                Undo::Family(name, None) => drop(self.families.remove(name)),
            }
        }
        if self.scopes.is_empty() {
            self.first_members.clear();
            self.far_members.clear();
            self.family_count = 0;
        }
        undefined.reverse();
        undefined
    }

    /// What the name means in the innermost scope alone.
    pub(super) fn here(&self, name: &str) -> Option<Name> {
        self.exact.get(name).filter(|entry| entry.0 == self.depth()).map(|entry| entry.1)
    }

    /// Gives a name its meaning in the innermost scope.
    pub(super) fn define(&mut self, name: &'a str, meaning: Name) {
        let depth = self.depth();
        if let [first, .., b'0'..=b'9'] = name.as_bytes() {
            let numbered = self.numbered.get_or_insert_with(|| Box::new([false; 256]));
            numbered[usize::from(*first)] = true;
        }
        let before = self.exact.insert(name, (depth, meaning));
        if before.is_none_or(|before| before.0 != depth) && depth > 0 {
            self.undo.push(Undo::Exact(name, before));
        }
    }

    /// Changes what a name means where it is defined.
    pub(super) fn redefine(&mut self, name: &str, meaning: Name) {
        if let Some(entry) = self.exact.get_mut(name) {
            entry.1 = meaning;
        }
    }

    /// Declares a family. Whether the innermost scope has none of the name.
    pub(super) fn define_family(&mut self, prefix: &'a str, count: u32, class: RegClass, lanes: u32) -> bool {
        let depth = self.depth();
        self.digit_prefixes |= prefix.as_bytes().last().is_some_and(u8::is_ascii_digit);
        let family = Family { id: self.family_count, count, class, lanes };
        self.family_count = self.family_count.saturating_add(1);
        self.first_members.push(Vec::new());
        let before = self.families.insert(prefix, (depth, family));
        let is_new = before.is_none_or(|before| before.0 != depth);
        if is_new {
            self.undo.push(Undo::Family(prefix, before));
        }
        is_new
    }

    /// Gives a member of a family its register.
    pub(super) fn define_member(&mut self, family: Family, number: u32, reg: Reg) {
        let index = number as usize;
        match self.first_members.get_mut(family.id as usize) {
            // Room for as many again: never more than a small multiple of what is named.
            Some(members) if index <= 2 * members.len() + 64 => {
                if index >= members.len() {
                    members.resize(index + 1, NO_REG);
                }
                members[index] = reg;
            }
            _ => drop(self.far_members.insert((family.id, number), reg)),
        }
    }

    fn member(&self, family: Family, number: u32) -> Option<Reg> {
        let members = self.first_members.get(family.id as usize)?;
        match members.get(number as usize) {
            Some(&reg) if reg != NO_REG => Some(reg),
            _ => self.far_members.get(&(family.id, number)).copied(),
        }
    }

    /// The innermost meaning of a name.
    pub(super) fn find(&self, name: &str) -> Option<Found> {
        let [first, .., last] = name.as_bytes() else {
            return self.exact.get(name).map(|entry| Found::Name(entry.1));
        };
        if !last.is_ascii_digit() {
            return self.exact.get(name).map(|entry| Found::Name(entry.1));
        }
        let is_numbered = self.numbered.as_ref().is_some_and(|numbered| numbered[usize::from(*first)]);
        let exact = if is_numbered { self.exact.get(name) } else { None };
        match (exact, self.find_member(name)) {
            (Some(exact), Some((depth, _, _))) if exact.0 >= depth => Some(Found::Name(exact.1)),
            (_, Some((_, family, number))) => Some(match self.member(family, number) {
                Some(reg) if family.lanes == 1 => Found::Name(Name::Reg(reg, family.class)),
                Some(reg) => Found::Name(Name::Vector(reg, family.class, family.lanes)),
                None => Found::NewMember(family, number),
            }),
            (Some(exact), None) => Some(Found::Name(exact.1)),
            (None, None) => None,
        }
    }

    /// The innermost family that has this member: its scope, itself, the number.
    fn find_member(&self, name: &str) -> Option<(u32, Family, u32)> {
        let bytes = name.as_bytes();
        let mut best: Option<(u32, Family, u32)> = None;
        let mut at = bytes.len();
        let mut number = 0_u64;
        let mut scale = 1_u64;
        while at > 1 && bytes[at - 1].is_ascii_digit() && bytes.len() - at < 10 {
            at -= 1;
            let digit = u64::from(bytes[at] - b'0');
            number += digit * scale;
            scale *= 10;
            // A number has no leading zeros.
            if digit == 0 && at + 1 < bytes.len() {
                continue;
            }
            // The whole number is the common case; a shorter one is looked for only if the prefix itself may end in a digit.
            if at > 1 && bytes[at - 1].is_ascii_digit() && !self.digit_prefixes {
                continue;
            }
            if let Some(&(depth, family)) = self.families.get(&name[..at])
                && let Some(number) = u32::try_from(number).ok().filter(|&number| number < family.count)
                && best.is_none_or(|best| best.0 < depth)
            {
                best = Some((depth, family, number));
            }
        }
        best
    }
}
