//! `wmma`: matrices in memory, loaded, multiplied and stored, against products of the host.

use super::kernel::Kernel;
use super::matrix::Element;
use super::matrix::Element::*;
use super::matrix::Product;
use super::matrix::multiply;
use crate::support::program::Make;

/// How a matrix lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Row,
    Col,
}

impl Order {
    fn name(self) -> &'static str {
        match self {
            Self::Row => "row",
            Self::Col => "col",
        }
    }

    fn is_by_columns(self) -> bool {
        self == Self::Col
    }
}

const ORDERS: [Order; 2] = [Order::Row, Order::Col];

/// What a `wmma.mma` says besides its shape.
struct Case {
    product: Product,
    /// The element type of D.
    d: Element,
    /// Of `a`, `b`, `c`, `d`.
    orders: [Order; 4],
    /// What stands after `wmma.mma`.
    operation: &'static str,
    /// What stands after the shape.
    rounding: &'static str,
    /// What stands at the end.
    suffix: &'static str,
    term: fn(i64, i64) -> i64,
}

fn name(element: Element) -> &'static str {
    match element {
        F16 => "f16",
        BF16 => "bf16",
        Tf32 => "tf32",
        F32 => "f32",
        F64 => "f64",
        S8 => "s8",
        U8 => "u8",
        S4 => "s4",
        U4 => "u4",
        B1 => "b1",
        S32 => "s32",
        E4M3 | E5M2 => panic!("no element of `wmma`"),
    }
}

/// Registers of a fragment, by the tables of the instruction set.
fn registers(element: Element, [rows, columns]: [usize; 2], is_factor: bool) -> usize {
    match (element, is_factor) {
        (F16, true) => 8,
        (F64, _) => rows * columns / 32,
        _ => rows * columns * element.bits() / 32 / 32,
    }
}

fn check(make: Make<'_>, case: &Case) {
    let Product { shape, a, b, c } = case.product;
    let [m, n, k] = shape;
    let matrices = case.product.matrices();
    let extents = [[m, k], [k, n], [m, n], [m, n]];
    let elements = [a, b, c, case.d];
    let stored: Vec<Vec<u32>> =
        (0..3).map(|at| matrices[at].words(elements[at], case.orders[at].is_by_columns())).collect();
    let class = |element: Element| match element {
        F32 => ".f32",
        F64 => ".f64",
        _ => ".b32",
    };
    let letters = ["a", "b", "c", "d"];
    let mut body = String::new();
    let mut lists = Vec::new();
    for at in 0..4 {
        let count = registers(elements[at], extents[at], at < 2);
        body += &format!(".reg {} %w{}<{count}>;\n", class(elements[at]), letters[at]);
        let names: Vec<String> = (0..count).map(|number| format!("%w{}{number}", letters[at])).collect();
        lists.push(format!("{{{}}}", names.join(", ")));
    }
    let size = format!("m{m}n{n}k{k}");
    let stride = |at: usize| match case.orders[at] {
        Order::Row => extents[at][1],
        Order::Col => extents[at][0],
    };
    let mut start = 0;
    for at in 0..3 {
        // The distance may be left out where it is that of the shape.
        let distance = if at == 1 { String::new() } else { format!(", {}", stride(at)) };
        body += &format!(
            "add.u64 %rd1, %data, {start};\nwmma.load.{}.sync.aligned.{}.{size}.global.{} {}, [%rd1]{distance};\n",
            letters[at],
            case.orders[at].name(),
            name(elements[at]),
            lists[at],
        );
        start += stored[at].len() * 4;
    }
    let types = match a {
        F16 => format!("{}.{}", name(case.d), name(c)),
        _ => format!("{}.{}.{}.{}", name(case.d), name(a), name(b), name(c)),
    };
    body += &format!(
        "wmma.mma{}.sync.aligned.{}.{}.{size}{}.{types}{} {}, {}, {}, {};\n\
         wmma.store.d.sync.aligned.{}.{size}.global.{} [%out], {}, {};\n",
        case.operation,
        case.orders[0].name(),
        case.orders[1].name(),
        case.rounding,
        case.suffix,
        lists[3],
        lists[0],
        lists[1],
        lists[2],
        case.orders[3].name(),
        name(case.d),
        lists[3],
        stride(3),
    );
    let got = Kernel { body: &body, data: stored.concat(), ..Kernel::default() }.out(make);
    let want = case.product.result(&matrices, case.term).words(case.d, case.orders[3].is_by_columns());
    assert_eq!(got[..want.len()], want, "{body}");
}

/// A product by rows and columns.
fn plain(product: Product, d: Element) -> Case {
    let orders = [Order::Row, Order::Col, Order::Row, Order::Row];
    Case { product, d, orders, operation: "", rounding: "", suffix: "", term: multiply }
}

const SHAPES: [[usize; 3]; 3] = [[16, 16, 16], [32, 8, 16], [8, 32, 16]];

/// All orders of A and B; those of C and D go along.
fn in_all_orders(make: Make<'_>, shape: [usize; 3], [a, b, c, d]: [Element; 4], suffix: &'static str) {
    for first in ORDERS {
        for second in ORDERS {
            let product = Product { shape, a, b, c };
            let orders = [first, second, second, first];
            check(make, &Case { orders, suffix, ..plain(product, d) });
        }
    }
}

fn halves_in_memory_are_multiplied(make: Make<'_>) {
    for shape in SHAPES {
        for [d, c] in [[F32, F32], [F16, F16], [F16, F32], [F32, F16]] {
            in_all_orders(make, shape, [F16, F16, c, d], "");
        }
        in_all_orders(make, shape, [BF16, BF16, F32, F32], "");
    }
    in_all_orders(make, [16, 16, 8], [Tf32, Tf32, F32, F32], "");
}

fn doubles_in_memory_are_multiplied(make: Make<'_>) {
    // Sums of zero are negative when rounded down, which those of the host are not.
    for rounding in ["", ".rn", ".rz", ".rp"] {
        for first in ORDERS {
            for second in ORDERS {
                let product = Product { shape: [8, 8, 4], a: F64, b: F64, c: F64 };
                let orders = [first, second, first, second];
                check(make, &Case { orders, rounding, ..plain(product, F64) });
            }
        }
    }
}

fn bytes_in_memory_are_multiplied(make: Make<'_>) {
    for shape in SHAPES {
        for [a, b] in [[S8, S8], [U8, U8], [S8, U8], [U8, S8]] {
            in_all_orders(make, shape, [a, b, S32, S32], "");
        }
        in_all_orders(make, shape, [S8, S8, S32, S32], ".satfinite");
    }
}

fn small_elements_in_memory_are_multiplied(make: Make<'_>) {
    let orders = |last| [Order::Row, Order::Col, Order::Row, last];
    for last in ORDERS {
        for [a, b] in [[S4, S4], [U4, U4], [S4, U4]] {
            for suffix in ["", ".satfinite"] {
                let product = Product { shape: [8, 8, 32], a, b, c: S32 };
                check(make, &Case { orders: orders(last), suffix, ..plain(product, S32) });
            }
        }
        for operation in [".xor.popc", ".and.popc"] {
            let term = if operation == ".and.popc" { |a, b| a & b } else { |a: i64, b: i64| a ^ b };
            let product = Product { shape: [8, 8, 128], a: B1, b: B1, c: S32 };
            check(make, &Case { orders: orders(last), operation, term, ..plain(product, S32) });
        }
    }
}

fn sums_of_doubles_round_as_told(make: Make<'_>) {
    // A row of A times a column of B is 1 + 2^-60, whose neighbours are 1 and 1 + 2^-52.
    for (rounding, sign, want) in [
        (".rn", "", 1.0_f64.to_bits()),
        (".rz", "", 1.0_f64.to_bits()),
        (".rm", "", 1.0_f64.to_bits()),
        (".rp", "", 1.0_f64.to_bits() + 1),
        (".rm", "8", (-1.0_f64).to_bits() + 1),
        (".rp", "8", (-1.0_f64).to_bits()),
    ] {
        let sign = if sign.is_empty() { 0 } else { 1_u64 << 63 };
        let (one, small) = (1.0_f64.to_bits() | sign, (-60_f64).exp2().to_bits());
        let body = format!(
            ".reg .f64 %wa, %wb, %wc0, %wc1;\nmov.b64 %wa, {one:#x};\nmov.b64 %wb, {small:#x};\n\
             mov.b64 %wc0, {one:#x};\nmov.b64 %wc1, {one:#x};\n\
             wmma.mma.sync.aligned.row.col.m8n8k4{rounding}.f64.f64.f64.f64 {{%wc0, %wc1}}, {{%wa}}, {{%wb}}, {{%wc0, %wc1}};\n\
             mul.wide.u32 %rd1, %t, 8;\nadd.u64 %rd1, %rd1, %out;\nst.global.f64 [%rd1], %wc0;"
        );
        let got = Kernel { body: &body, ..Kernel::default() }.out(make);
        // Four products are added, each rounded by itself.
        let steps = want.wrapping_sub(one);
        let want = one.wrapping_add(steps.wrapping_mul(4));
        assert_eq!(u64::from(got[0]) | u64::from(got[1]) << 32, want, "{rounding} {sign:x}");
    }
}

crate::for_each_executor!(
    halves_in_memory_are_multiplied,
    doubles_in_memory_are_multiplied,
    bytes_in_memory_are_multiplied,
    small_elements_in_memory_are_multiplied,
    sums_of_doubles_round_as_told,
);
