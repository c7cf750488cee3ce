//! Matrices of the tests, their elements and products. Elements are small whole numbers, so that every sum is exact in every type.

use crate::support::number::BF16;
use crate::support::number::F16;
use crate::support::number::To;
use crate::support::random::Random;

/// A whole number as a float of eight bits, which must hold it.
fn byte(value: i64, fraction: u32, bias: i32) -> u64 {
    let decoded = |code: u64| {
        let (high, low) = ((code >> fraction) as i32, (code & ((1 << fraction) - 1)) as f64);
        (1.0 + low / f64::from(1 << fraction)) * f64::from(high - bias).exp2()
    };
    let magnitude = value.unsigned_abs() as f64;
    let code = (1 << fraction..0x7c).find(|&code| decoded(code) == magnitude).unwrap_or(0);
    assert!(code != 0 || value == 0, "{value} is no float of eight bits");
    code | if value < 0 { 0x80 } else { 0 }
}

/// How an element is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    E4M3,
    E5M2,
    F16,
    BF16,
    Tf32,
    F32,
    F64,
    S8,
    U8,
    S4,
    U4,
    B1,
    S32,
}

impl Element {
    pub(crate) fn bits(self) -> usize {
        match self {
            Self::F16 | Self::BF16 => 16,
            Self::Tf32 | Self::F32 | Self::S32 => 32,
            Self::F64 => 64,
            Self::E4M3 | Self::E5M2 | Self::S8 | Self::U8 => 8,
            Self::S4 | Self::U4 => 4,
            Self::B1 => 1,
        }
    }

    pub(crate) fn encode(self, value: i64) -> u64 {
        let float = value as f64;
        match self {
            Self::E4M3 => byte(value, 3, 7),
            Self::E5M2 => byte(value, 2, 15),
            Self::F16 => u64::from(F16.encode(float, To::Nearest)),
            Self::BF16 => u64::from(BF16.encode(float, To::Nearest)),
            Self::Tf32 | Self::F32 => u64::from((float as f32).to_bits()),
            Self::F64 => float.to_bits(),
            _ => value as u64 & ((1 << self.bits()) - 1),
        }
    }

    pub(crate) fn random(self, random: &mut Random) -> i64 {
        let raw = (random.next() >> 20) as i64;
        match self {
            Self::B1 => raw & 1,
            Self::U4 | Self::U8 => raw & 15,
            _ => (raw & 15) - 8,
        }
    }
}

/// A matrix by rows.
pub(crate) struct Matrix {
    pub(crate) columns: usize,
    pub(crate) values: Vec<i64>,
}

impl Matrix {
    pub(crate) fn random(rows: usize, columns: usize, element: Element, random: &mut Random) -> Self {
        Self { columns, values: (0..rows * columns).map(|_| element.random(random)).collect() }
    }

    pub(crate) fn at(&self, row: usize, column: usize) -> i64 {
        self.values[row * self.columns + column]
    }

    /// Its bits, as words; by columns if asked.
    pub(crate) fn words(&self, element: Element, by_columns: bool) -> Vec<u32> {
        let rows = self.values.len() / self.columns;
        let mut bits: Vec<bool> = Vec::new();
        for index in 0..self.values.len() {
            let value = match by_columns {
                true => self.at(index % rows, index / rows),
                false => self.values[index],
            };
            let raw = element.encode(value);
            bits.extend((0..element.bits()).map(|bit| raw >> bit & 1 == 1));
        }
        bits.chunks(32)
            .map(|word| word.iter().rev().fold(0, |word, &bit| word << 1 | u32::from(bit)))
            .collect()
    }
}

/// A product `D = A * B + C` and its types.
pub(crate) struct Product {
    pub(crate) shape: [usize; 3],
    pub(crate) a: Element,
    pub(crate) b: Element,
    pub(crate) c: Element,
}

impl Product {
    pub(crate) fn matrices(&self) -> [Matrix; 3] {
        let [m, n, k] = self.shape;
        let mut random = Random((m * n * k) as u64);
        [
            Matrix::random(m, k, self.a, &mut random),
            Matrix::random(k, n, self.b, &mut random),
            Matrix::random(m, n, if self.c == Element::S32 { Element::S8 } else { self.c }, &mut random),
        ]
    }

    pub(crate) fn result(&self, [a, b, c]: &[Matrix; 3], term: impl Fn(i64, i64) -> i64) -> Matrix {
        let [m, n, k] = self.shape;
        let sum = |row: usize, column: usize| {
            c.at(row, column) + (0..k).map(|at| term(a.at(row, at), b.at(at, column))).sum::<i64>()
        };
        Matrix { columns: n, values: (0..m * n).map(|index| sum(index / n, index % n)).collect() }
    }
}

/// What most products multiply by.
pub(crate) fn multiply(a: i64, b: i64) -> i64 {
    a * b
}
