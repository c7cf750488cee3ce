//! The metadata of sparse matrices: where the elements that are there belong.
//!
//! *Chunks.* A row of A is in chunks, of which half of the elements are there: one of two (32 bits), two of four (16 and 8 bits), or two
//! pairs of four pairs (4 bits). Each chunk has four bits of metadata, two numbers of two bits in the order of the elements; of two elements
//! the numbers are 0 and 1, or 2 and 3.
//!
//! *Lanes.* The metadata of a row is in the four lanes that have its elements, of which the selector chooses one, two or all. Of elements of
//! 16 and 32 bits the lower half of a lane's word is of its row, the upper half of the row eight further down. Of smaller elements a word is of
//! one row, and the next lane has the row eight further down.

use super::matrix::Matrix;
use super::matrix::Product;
use super::matrix::bits;

/// Metadata of a chunk.
const CHUNK_BITS: u32 = 4;

/// The column of each element of A that is there; `word` is the metadata of a lane.
pub(super) fn columns(product: &Product, selector: u8, word: impl Fn(u32) -> u64) -> Matrix {
    let [rows, _, k] = product.shape.map(u32::from);
    let element = bits(product.types[1]);
    // Columns of a chunk, elements of it that are there, and neighbours that one number is about.
    let (extent, kept, run) = match element {
        32 => (2, 1, 1),
        4 => (8, 4, 2),
        _ => (4, 2, 1),
    };
    let mut columns = Matrix::new([rows, k / 2]);
    for row in 0..rows {
        for chunk in 0..k / extent {
            let (lane, shift) = place(product, u32::from(selector), row, chunk);
            let numbers = word(lane) >> shift & 15;
            for index in 0..kept {
                let number = (numbers >> (2 * (index / run)) & 3) as u32;
                let number = if element == 32 { number / 2 } else { number };
                let column = chunk * extent + number * run + index % run;
                columns.set([row, chunk * kept + index], u64::from(column));
            }
        }
    }
    columns
}

/// The lane that has the metadata of a chunk, and its place in the word.
fn place(product: &Product, selector: u32, row: u32, chunk: u32) -> (u32, u32) {
    let first = 4 * (row % 8);
    if bits(product.types[1]) >= 16 {
        let lanes = words_of_four(product);
        let lane = first + selector * lanes + chunk / 4;
        return (lane & 31, 16 * (row / 8) + chunk % 4 * CHUNK_BITS);
    }
    let lane = first + 2 * selector + row / 8 + 2 * (chunk / 8);
    (lane & 31, chunk % 8 * CHUNK_BITS)
}

/// How many of four lanes have metadata of elements of 16 or 32 bits.
fn words_of_four(product: &Product) -> u32 {
    let chunks = u32::from(product.shape[2]) * bits(product.types[1]) / 64;
    chunks / 4
}
