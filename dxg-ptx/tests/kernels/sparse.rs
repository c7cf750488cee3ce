//! `mma.sp`: products of a matrix of which half is zeros, against products of the host. The registers of each lane are filled here, by the
//! tables of the instruction set.

use super::kernel::Kernel;
use super::matrix::Element;
use super::matrix::Element::*;
use super::matrix::Matrix;
use super::matrix::Product;
use super::matrix::multiply;
use crate::support::program::Make;
use crate::support::random::Random;

/// A sparse A: all its elements, and what is kept of it.
struct Sparse {
    whole: Matrix,
    /// By rows: the elements that are there, in order.
    kept: Vec<Vec<i64>>,
    /// By rows: the metadata, four bits for each chunk.
    chunks: Vec<Vec<u32>>,
}

/// What is there of a chunk: the metadata and the columns.
fn pattern(element: Element, random: &mut Random) -> (u32, Vec<usize>) {
    let pairs = [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]];
    let [first, second] = pairs[(random.next() >> 33) as usize % 6];
    let metadata = (first | second << 2) as u32;
    match element.bits() {
        32 if metadata & 1 == 0 => (0b0100, vec![0]),
        32 => (0b1110, vec![1]),
        4 => (metadata, vec![2 * first, 2 * first + 1, 2 * second, 2 * second + 1]),
        _ => (metadata, vec![first, second]),
    }
}

fn sparse(element: Element, k: usize, random: &mut Random) -> Sparse {
    let extent = match element.bits() {
        32 => 2,
        4 => 8,
        _ => 4,
    };
    let mut whole = Matrix { columns: k, values: vec![0; 16 * k] };
    let (mut kept, mut chunks) = (vec![Vec::new(); 16], vec![Vec::new(); 16]);
    for row in 0..16 {
        for chunk in 0..k / extent {
            let (metadata, columns) = pattern(element, random);
            chunks[row].push(metadata);
            for column in columns {
                let value = element.random(random);
                whole.values[row * k + chunk * extent + column] = value;
                kept[row].push(value);
            }
        }
    }
    Sparse { whole, kept, chunks }
}

/// The metadata word of each lane. Lanes that the selector does not choose have something else.
fn metadata(sparse: &Sparse, element: Element, selector: usize) -> [u32; 32] {
    let mut words = [0xdead_beef_u32; 32];
    let per_row = sparse.chunks[0].len();
    for group in 0..8 {
        if element.bits() >= 16 {
            // A lane has four chunks of two rows: one lane for each four chunks.
            let lanes = per_row / 4;
            for lane in 0..lanes {
                let half = |row: usize| {
                    let chunks = &sparse.chunks[row][4 * lane..4 * lane + 4];
                    chunks.iter().rev().fold(0, |word, chunk| word << 4 | chunk)
                };
                words[4 * group + selector * lanes + lane] = half(group) | half(group + 8) << 16;
            }
        } else {
            // A lane has eight chunks of one row.
            for part in 0..per_row / 8 {
                for below in 0..2 {
                    let chunks = &sparse.chunks[group + 8 * below][8 * part..8 * part + 8];
                    let word = chunks.iter().rev().fold(0, |word, chunk| word << 4 | chunk);
                    words[4 * group + 2 * selector + 2 * part + below] = word;
                }
            }
        }
    }
    words
}

/// A register of elements, the first at its low end.
fn register(element: Element, values: impl Iterator<Item = i64>) -> u32 {
    let bits = element.bits();
    values.enumerate().fold(0, |word, (at, value)| word | (element.encode(value) as u32) << (at * bits))
}

fn check(make: Make<'_>, name: &str, product: &Product, selector: usize) {
    let Product { shape, a, b, c } = *product;
    let [_, n, k] = shape;
    let mut random = Random((k + selector) as u64);
    let left = sparse(a, k, &mut random);
    let right = Matrix::random(k, n, b, &mut random);
    let addend = Matrix::random(16, n, if c == S32 { S8 } else { c }, &mut random);
    let metadata = metadata(&left, a, selector);
    let width = 32 / a.bits();
    let c_width = if c == F16 { 2 } else { 1 };
    let counts = [k / 4 / width, k / 4 / width, 4 / c_width];
    let mut data = Vec::new();
    for (lane, word) in metadata.into_iter().enumerate() {
        let (group, within) = (lane / 4, lane % 4);
        for number in 0..counts[0] {
            let row = group + 8 * (number % 2);
            // As many columns as there are zeros and elements; half of them are there.
            let first = within * width + number / 2 * 4 * width;
            data.push(register(a, left.kept[row][first..first + width].iter().copied()));
        }
        for number in 0..counts[1] {
            let first = within * width + number * 4 * width;
            data.push(register(b, (first..first + width).map(|row| right.at(row, group))));
        }
        for number in 0..counts[2] {
            let elements = (number * c_width..(number + 1) * c_width)
                .map(|index| addend.at(group + 8 * (index / 2), 2 * within + index % 2));
            data.push(register(c, elements));
        }
        data.push(word);
    }
    let all: usize = counts.iter().sum::<usize>() + 1;
    let mut body = format!(
        ".reg .b32 %wa<8>, %wb<8>, %wc<8>, %we;\nmul.wide.u32 %rd1, %t, {};\nadd.u64 %rd1, %rd1, %data;\n",
        all * 4
    );
    let mut lists = Vec::new();
    let mut at = 0;
    for (letter, count) in ["a", "b", "c"].into_iter().zip(counts) {
        let names: Vec<String> = (0..count).map(|number| format!("%w{letter}{number}")).collect();
        for name in &names {
            body += &format!("ld.global.b32 {name}, [%rd1+{}];\n", at * 4);
            at += 1;
        }
        lists.push(format!("{{{}}}", names.join(", ")));
    }
    body += &format!("ld.global.b32 %we, [%rd1+{}];\n", at * 4);
    body += &format!("{name} {2}, {0}, {1}, {2}, %we, {selector};\n", lists[0], lists[1], lists[2]);
    body += &format!("mul.wide.u32 %rd2, %t, {};\nadd.u64 %rd2, %rd2, %out;\n", counts[2] * 4);
    for number in 0..counts[2] {
        body += &format!("st.global.b32 [%rd2+{}], %wc{number};\n", number * 4);
    }
    let got = Kernel { body: &body, data, ..Kernel::default() }.out(make);
    let want = product.result(&[left.whole, right, addend], multiply);
    for lane in 0..32 {
        for number in 0..counts[2] {
            let elements = (number * c_width..(number + 1) * c_width)
                .map(|index| want.at(lane / 4 + 8 * (index / 2), 2 * (lane % 4) + index % 2));
            let want = register(c, elements);
            assert_eq!(got[lane * counts[2] + number], want, "{name} {selector}, lane {lane}, {number}");
        }
    }
}

fn products_of_sparse_matrices_are_those_of_whole_ones(make: Make<'_>) {
    let products: [(&str, usize, Element, Element, Element, usize); 15] = [
        ("m16n8k16.row.col.f32.f16.f16.f32", 16, F16, F16, F32, 3),
        ("m16n8k16.row.col.f16.f16.f16.f16", 16, F16, F16, F16, 3),
        ("m16n8k16.row.col.f32.bf16.bf16.f32", 16, BF16, BF16, F32, 3),
        ("m16n8k32.row.col.f32.f16.f16.f32", 32, F16, F16, F32, 1),
        ("m16n8k32.row.col.f16.f16.f16.f16", 32, F16, F16, F16, 1),
        ("m16n8k32.row.col.f32.bf16.bf16.f32", 32, BF16, BF16, F32, 1),
        ("m16n8k8.row.col.f32.tf32.tf32.f32", 8, Tf32, Tf32, F32, 3),
        ("m16n8k16.row.col.f32.tf32.tf32.f32", 16, Tf32, Tf32, F32, 1),
        ("m16n8k32.row.col.s32.s8.u8.s32", 32, S8, U8, S32, 1),
        ("m16n8k64.row.col.satfinite.s32.u8.s8.s32", 64, U8, S8, S32, 0),
        ("m16n8k64.row.col.s32.s4.u4.s32", 64, S4, U4, S32, 1),
        ("m16n8k128.row.col.s32.u4.s4.s32", 128, U4, S4, S32, 0),
        ("m16n8k64.row.col.f32.e4m3.e5m2.f32", 64, E4M3, E5M2, F32, 0),
        ("m16n8k64.row.col.f16.e5m2.e4m3.f16", 64, E5M2, E4M3, F16, 0),
        ("m16n8k64.row.col.satfinite.s32.s8.s8.s32", 64, S8, S8, S32, 0),
    ];
    for (name, k, a, b, c, selectors) in products {
        for selector in 0..=selectors {
            let product = Product { shape: [16, 8, k], a, b, c };
            let kind = if selector % 2 == 0 { "sp" } else { "sp::ordered_metadata" };
            check(make, &format!("mma.{kind}.sync.aligned.{name}"), &product, selector);
        }
    }
}

crate::for_each_executor!(products_of_sparse_matrices_are_those_of_whole_ones);
