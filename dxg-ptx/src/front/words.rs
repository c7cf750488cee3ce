//! The modifiers of an instruction, taken by name in any order.

use crate::diagnostics::Diagnostic;
use crate::front::types;
use crate::ir::Accuracy;
use crate::ir::Mods;
use crate::ir::Place;
use crate::ir::Round;
use crate::ir::Scalar;

/// Most modifiers of an instruction.
const MOST: usize = 24;

/// The modifiers of one instruction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words<'a> {
    list: [&'a str; MOST],
    places: [Place; MOST],
    count: usize,
    taken: u32,
}

impl<'a> Words<'a> {
    pub(super) const fn new() -> Self {
        Self { list: [""; MOST], places: [Place { line: 0, column: 0 }; MOST], count: 0, taken: 0 }
    }

    /// Starts anew.
    pub(super) fn clear(&mut self) {
        self.count = 0;
        self.taken = 0;
    }

    pub(super) fn push(&mut self, word: &'a str, place: Place) -> Result<(), Diagnostic> {
        let (Some(slot), Some(at)) = (self.list.get_mut(self.count), self.places.get_mut(self.count)) else {
            return Err(Diagnostic::malformed(place, "too many modifiers"));
        };
        *slot = word;
        *at = place;
        self.count += 1;
        Ok(())
    }

    /// The modifiers that nothing has taken.
    fn left(&self) -> impl Iterator<Item = (usize, &'a str)> + '_ {
        self.list[..self.count].iter().copied().enumerate().filter(|&(index, _)| self.taken >> index & 1 == 0)
    }

    fn take_where<T>(&mut self, what: impl Fn(&'a str) -> Option<T>) -> Option<T> {
        let (index, found) = self.left().find_map(|(index, word)| Some((index, what(word)?)))?;
        self.taken |= 1 << index;
        Some(found)
    }

    /// Takes a modifier. Whether it was there.
    pub(super) fn has(&mut self, word: &str) -> bool {
        self.take_where(|candidate| same(candidate, word).then_some(())).is_some()
    }

    /// Takes a modifier that starts so. Whether it was there.
    pub(super) fn has_prefix(&mut self, prefix: &str) -> bool {
        self.take_where(|candidate| candidate.starts_with(prefix).then_some(())).is_some()
    }

    /// Whether a modifier is there; it stays.
    pub(super) fn sees(&self, word: &str) -> bool {
        self.left().any(|(_, candidate)| same(candidate, word))
    }

    /// The first modifier that nothing has taken; it stays.
    pub(super) fn first(&self) -> Option<(&'a str, Place)> {
        self.left().next().map(|(index, word)| (word, self.places[index]))
    }

    /// Takes the first modifier of a table.
    pub(super) fn choose<T: Copy>(&mut self, table: &[(&str, T)]) -> Option<T> {
        self.take_where(|word| table.iter().find(|row| same(row.0, word)).map(|row| row.1))
    }

    /// Takes the first that a function knows.
    pub(super) fn read<T>(&mut self, what: impl Fn(&'a str) -> Option<T>) -> Option<T> {
        self.take_where(what)
    }

    /// Takes the first type.
    pub(super) fn scalar(&mut self) -> Option<Scalar> {
        self.take_where(types::scalar)
    }

    /// Takes `.v2`, `.v4` or `.v8`: elements, 1 if there is none.
    pub(super) fn lanes(&mut self) -> usize {
        self.choose(&[("v2", 2), ("v4", 4), ("v8", 8)]).unwrap_or(1)
    }

    /// Takes the rounding of a float result.
    pub(super) fn round(&mut self) -> Option<Round> {
        self.choose(&[
            ("rn", Round::Nearest),
            ("rz", Round::Zero),
            ("rm", Round::Down),
            ("rp", Round::Up),
            ("rna", Round::NearestAway),
        ])
    }

    /// Takes the accuracy of a function.
    pub(super) fn accuracy(&mut self) -> Option<Accuracy> {
        self.choose(&[("approx", Accuracy::Approx), ("full", Accuracy::Full)])
    }

    /// Takes what is the same for most arithmetic.
    pub(super) fn mods(&mut self) -> Mods {
        const TABLE: &[(&str, Mods)] = &[
            ("ftz", Mods::FTZ),
            ("sat", Mods::SAT),
            ("NaN", Mods::NAN),
            ("abs", Mods::ABS),
            ("relu", Mods::RELU),
            ("oob", Mods::OOB),
        ];
        let mut mods = Mods::default();
        while let Some(more) = self.choose(TABLE) {
            mods = mods.with(more);
        }
        if self.has("xorsign") {
            mods = mods.with(Mods::XORSIGN);
        }
        mods
    }

    /// Fails if a modifier is left.
    pub(super) fn finish(&self, opcode: &str) -> Result<(), Diagnostic> {
        match self.first() {
            None => Ok(()),
            Some((word, place)) => {
                Err(Diagnostic::malformed(place, format!("`{opcode}` does not take `.{word}` here")))
            }
        }
    }
}

/// Whether two short words are the same; most differ in their first letter or their length.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.as_bytes().first() == b.as_bytes().first() && a == b
}
