//! Matrix instructions against products of the host. Inputs are small whole numbers, so that every sum is exact in every type.

use super::kernel::Kernel;
use super::matrix::Element;
use super::matrix::Matrix;
use super::matrix::Product;
use super::matrix::multiply;
use crate::support::program::Make;
use crate::support::random::Random;

/// Loads a register from words of `%data` that start at `base` words: that of the element at row, column of a matrix with `columns`
/// columns whose rows are whole words. `row` and `column` are given for lane group `%r1` (lane / 4) and lane in group `%r2`.
fn load(register: &str, base: usize, columns: usize, bits: usize, [row, column]: [String; 2]) -> String {
    // The address of the element in bits, then bytes.
    format!(
        "{row}\n{column}\nmad.lo.u32 %r6, %r4, {columns}, %r5;\nmul.lo.u32 %r6, %r6, {bits};\nshr.u32 %r6, %r6, 3;\n\
         cvt.u64.u32 %rd3, %r6;\nadd.u64 %rd3, %rd3, %data;\nld.global.b{} {register}, [%rd3+{}];\n",
        if bits == 64 { 64 } else { 32 },
        base * 4
    )
}

/// A number of a lane: `group * by_group + lane * by_lane + plus`, into a register.
fn place(register: &str, [by_group, by_lane, plus]: [usize; 3]) -> String {
    format!(
        "mul.lo.u32 {register}, %r1, {by_group};\nmad.lo.u32 {register}, %r2, {by_lane}, {register};\nadd.u32 {register}, {register}, {plus};"
    )
}

/// An `mma` with a row-major A and a column-major B: its text, and the product.
fn check_mma(make: Make<'_>, name: &str, product: &Product, term: fn(i64, i64) -> i64) {
    let [m, n, k] = product.shape;
    let matrices = product.matrices();
    let wide = product.a == Element::F64;
    let prefix = if wide { "%ad" } else { "%aw" };
    let per = (32 / product.a.bits()).max(1);
    let (count_a, count_b) = (m * k / 32 / per, k * n / 32 / per);
    let c_per = if product.c == Element::F16 { 2 } else { 1 };
    let count_c = m * n / 32 / c_per;
    let a = matrices[0].words(product.a, false);
    let b = matrices[1].words(product.b, true);
    let c = matrices[2].words(product.c, false);
    let base = [0, a.len(), a.len() + b.len()];
    let mut body = String::from(
        ".reg .b32 %aw<8>, %bw<8>, %cw<8>;\n.reg .b64 %ad<8>, %bd<8>, %cd<8>;\nshr.u32 %r1, %t, 2;\nand.b32 %r2, %t, 3;\n",
    );
    for register in 0..count_a {
        let row = place("%r4", [1, 0, 8 * (register % (m / 8))]);
        let column = place("%r5", [0, per, register / (m / 8) * 4 * per]);
        body += &load(&format!("{prefix}{register}"), base[0], k, product.a.bits(), [row, column]);
    }
    let prefix_b = if wide { "%bd" } else { "%bw" };
    for register in 0..count_b {
        // By columns: the column of B is the row of what is stored.
        let row = place("%r4", [1, 0, 0]);
        let column = place("%r5", [0, per, register * 4 * per]);
        body += &load(&format!("{prefix_b}{register}"), base[1], k, product.b.bits(), [row, column]);
    }
    let prefix_c = if wide { "%cd" } else { "%cw" };
    let c_place = |register: usize| {
        let (half, rest) = if c_per == 2 { (register, 0) } else { (register / 2, register % 2) };
        [place("%r4", [1, 0, 8 * half]), place("%r5", [0, 2, rest])]
    };
    for register in 0..count_c {
        body += &load(&format!("{prefix_c}{register}"), base[2], n, product.c.bits(), c_place(register));
    }
    let list = |prefix: &str, count: usize| {
        let names: Vec<String> = (0..count).map(|register| format!("{prefix}{register}")).collect();
        format!("{{{}}}", names.join(", "))
    };
    let (a_list, b_list, c_list) = (list(prefix, count_a), list(prefix_b, count_b), list(prefix_c, count_c));
    body += &format!("{name} {c_list}, {a_list}, {b_list}, {c_list};\n");
    for register in 0..count_c {
        let [row, column] = c_place(register);
        body += &format!(
            "{row}\n{column}\nmad.lo.u32 %r6, %r4, {n}, %r5;\nmul.lo.u32 %r6, %r6, {};\ncvt.u64.u32 %rd3, %r6;\n\
             add.u64 %rd3, %rd3, %out;\nst.global.b{} [%rd3], {prefix_c}{register};\n",
            product.c.bits() / 8,
            if wide { 64 } else { 32 }
        );
    }
    let data = [a, b, c].concat();
    let got = Kernel { body: &body, data, ..Kernel::default() }.out(make);
    let want = product.result(&matrices, term).words(product.c, false);
    assert_eq!(got[..want.len()], want, "{name}");
}

fn products_of_fragments_are_those_of_matrices(make: Make<'_>) {
    use Element::*;
    let products: [(&str, [usize; 3], Element, Element, Element); 26] = [
        ("m16n8k16.row.col.f32.f16.f16.f32", [16, 8, 16], F16, F16, F32),
        ("m16n8k8.row.col.f32.f16.f16.f32", [16, 8, 8], F16, F16, F32),
        ("m16n8k16.row.col.f16.f16.f16.f16", [16, 8, 16], F16, F16, F16),
        ("m16n8k8.row.col.f16.f16.f16.f16", [16, 8, 8], F16, F16, F16),
        ("m16n8k16.row.col.f32.bf16.bf16.f32", [16, 8, 16], BF16, BF16, F32),
        ("m16n8k8.row.col.f32.bf16.bf16.f32", [16, 8, 8], BF16, BF16, F32),
        ("m16n8k8.row.col.f32.tf32.tf32.f32", [16, 8, 8], Tf32, Tf32, F32),
        ("m16n8k4.row.col.f32.tf32.tf32.f32", [16, 8, 4], Tf32, Tf32, F32),
        ("m8n8k4.row.col.f64.f64.f64.f64", [8, 8, 4], F64, F64, F64),
        ("m16n8k4.row.col.f64.f64.f64.f64", [16, 8, 4], F64, F64, F64),
        ("m16n8k8.row.col.f64.f64.f64.f64", [16, 8, 8], F64, F64, F64),
        ("m16n8k16.row.col.f64.f64.f64.f64", [16, 8, 16], F64, F64, F64),
        ("m16n8k32.row.col.f32.e4m3.e5m2.f32", [16, 8, 32], E4M3, E5M2, F32),
        ("m16n8k32.row.col.f16.e5m2.e5m2.f16", [16, 8, 32], E5M2, E5M2, F16),
        ("m16n8k16.row.col.f32.e5m2.e4m3.f32", [16, 8, 16], E5M2, E4M3, F32),
        ("m16n8k16.row.col.f16.e4m3.e4m3.f16", [16, 8, 16], E4M3, E4M3, F16),
        ("m8n8k16.row.col.s32.u8.u8.s32", [8, 8, 16], U8, U8, S32),
        ("m8n8k16.row.col.s32.s8.u8.s32", [8, 8, 16], S8, U8, S32),
        ("m16n8k16.row.col.s32.u8.s8.s32", [16, 8, 16], U8, S8, S32),
        ("m16n8k32.row.col.s32.s8.s8.s32", [16, 8, 32], S8, S8, S32),
        ("m8n8k32.row.col.s32.s4.u4.s32", [8, 8, 32], S4, U4, S32),
        ("m16n8k32.row.col.s32.u4.u4.s32", [16, 8, 32], U4, U4, S32),
        ("m16n8k64.row.col.s32.s4.s4.s32", [16, 8, 64], S4, S4, S32),
        ("m8n8k128.row.col.s32.b1.b1.s32", [8, 8, 128], B1, B1, S32),
        ("m16n8k128.row.col.s32.b1.b1.s32", [16, 8, 128], B1, B1, S32),
        ("m16n8k256.row.col.s32.b1.b1.s32", [16, 8, 256], B1, B1, S32),
    ];
    for (name, shape, a, b, c) in products {
        let product = Product { shape, a, b, c };
        if a == B1 {
            check_mma(make, &format!("mma.sync.aligned.{name}.xor.popc"), &product, |a, b| a ^ b);
            check_mma(make, &format!("mma.sync.aligned.{name}.and.popc"), &product, |a, b| a & b);
        } else {
            check_mma(make, &format!("mma.sync.aligned.{name}"), &product, multiply);
        }
    }
}

fn matrices_of_shared_memory_are_loaded_as_fragments(make: Make<'_>) {
    // Four 8 by 8 matrices of halves, row by row; the element is its number.
    for (transpose, flips) in [("", false), (".trans", true)] {
        let body = format!(
            ".shared .align 16 .b8 s[512];\nmov.u32 %r1, s;\nmul.lo.u32 %r2, %t, 16;\nadd.u32 %r2, %r1, %r2;\n\
             mov.u32 %r3, 0;\nFILL:\nmad.lo.u32 %r4, %t, 8, %r3;\nadd.u32 %r5, %r4, 1;\nshl.b32 %r5, %r5, 16;\nor.b32 %r4, %r4, %r5;\n\
             shl.b32 %r6, %r3, 1;\nadd.u32 %r6, %r6, %r2;\nst.shared.u32 [%r6], %r4;\nadd.u32 %r3, %r3, 2;\n\
             setp.lt.u32 %p1, %r3, 8;\n@%p1 bra FILL;\nbar.sync 0;\n\
             ldmatrix.sync.aligned.m8n8.x4{transpose}.shared.b16 {{%r7, %r8, %r9, %r10}}, [%r2];\n\
             mul.wide.u32 %rd1, %t, 16;\nadd.u64 %rd1, %rd1, %out;\nst.global.v4.u32 [%rd1], {{%r7, %r8, %r9, %r10}};"
        );
        let got = Kernel { body: &body, ..Kernel::default() }.out(make);
        for lane in 0..32 {
            for matrix in 0..4 {
                let element = |half: u32| {
                    let (row, column) = (lane / 4, 2 * (lane % 4) + half);
                    let (row, column) = if flips { (column, row) } else { (row, column) };
                    matrix * 64 + row * 8 + column
                };
                let want = element(0) | element(1) << 16;
                assert_eq!(
                    got[(lane * 4 + matrix) as usize],
                    want,
                    "{transpose} lane {lane} matrix {matrix}"
                );
            }
        }
    }
}

fn fragments_go_back_to_shared_memory_as_they_came(make: Make<'_>) {
    let body = ".shared .align 16 .b8 s[256];\nmov.u32 %r1, s;\nand.b32 %r2, %t, 15;\nmad.lo.u32 %r2, %r2, 16, %r1;\n\
                mul.lo.u32 %r3, %t, 3;\nmul.lo.u32 %r4, %t, 5;\n\
                stmatrix.sync.aligned.m8n8.x2.shared.b16 [%r2], {%r3, %r4};\nbar.sync 0;\n\
                ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r5, %r6}, [%r2];\nmovmatrix.sync.aligned.m8n8.trans.b16 %r7, %r5;\n\
                movmatrix.sync.aligned.m8n8.trans.b16 %r7, %r7;\nsub.u32 %r5, %r5, %r3;\nsub.u32 %r6, %r6, %r4;\nsub.u32 %r7, %r7, %r3;\n\
                or.b32 %r5, %r5, %r6;\nor.b32 %r5, %r5, %r7;\nadd.u32 %r5, %r5, 1;\nst.global.u32 [%mine], %r5;";
    let got = Kernel { body, ..Kernel::default() }.out(make);
    assert_eq!(got[..32], [1; 32]);
}

/// Row and column of an element of C or D of a lane, where four products are made at once.
fn quad_place(element: Element, lane: usize, i: usize) -> [usize; 2] {
    let upper = lane / 16 * 4;
    match element {
        Element::F16 => [lane % 4 + upper, i],
        _ => [(lane & 1) + (i & 2) + upper, (i & 4) + (lane & 2) + (i & 1)],
    }
}

/// Elements as words of registers.
fn packed(element: Element, values: &[i64]) -> Vec<u32> {
    let each = 32 / element.bits();
    let word = |part: &[i64]| {
        part.iter().rev().fold(0_u64, |word, &value| word << element.bits() | element.encode(value)) as u32
    };
    values.chunks(each).map(word).collect()
}

fn quads_of_lanes_multiply_matrices_of_their_own(make: Make<'_>) {
    // Four products of 8 by 8 by 4 at once: lanes 0 to 3 and 16 to 19 do the first, and so on. A and B by rows and by columns.
    let mut random = Random(84);
    let half = Element::F16;
    let matrices: Vec<[Matrix; 3]> = (0..4)
        .map(|_| [(8, 4), (4, 8), (8, 8)].map(|(m, n)| Matrix::random(m, n, half, &mut random)))
        .collect();
    let types = [("f16", half), ("f32", Element::F32)];
    for ((layout_a, a_by_rows), (layout_b, b_by_rows)) in [("row", true), ("col", false)]
        .into_iter()
        .flat_map(|a| [("row", true), ("col", false)].map(|b| (a, b)))
    {
        for ((c_name, c_type), (d_name, d_type)) in types.into_iter().flat_map(|c| types.map(|d| (c, d))) {
            let mut data = Vec::new();
            for lane in 0..32 {
                let [a, b, c] = &matrices[lane % 16 / 4];
                let (within, upper) = (lane % 4, lane / 16 * 4);
                let a_part = [0, 1, 2, 3]
                    .map(|i| if a_by_rows { a.at(within + upper, i) } else { a.at(i + upper, within) });
                let b_part = [0, 1, 2, 3]
                    .map(|i| if b_by_rows { b.at(within, i + upper) } else { b.at(i, within + upper) });
                let c_part: Vec<i64> = (0..8)
                    .map(|i| quad_place(c_type, lane, i))
                    .map(|[row, column]| c.at(row, column))
                    .collect();
                let mut words =
                    [packed(half, &a_part), packed(half, &b_part), packed(c_type, &c_part)].concat();
                words.resize(12, 0);
                data.extend(words);
            }
            let counts = [c_type, d_type].map(|element| element.bits() / 4);
            let list = |name: &str, count: usize| {
                let names: Vec<String> = (0..count).map(|number| format!("%w{name}{number}")).collect();
                format!("{{{}}}", names.join(", "))
            };
            let mut body = String::from(
                ".reg .b32 %wa<2>, %wb<2>, %wc<8>, %wd<8>;\nmul.wide.u32 %rd1, %t, 48;\nadd.u64 %rd1, %rd1, %data;\n\
                 ld.global.v2.b32 {%wa0, %wa1}, [%rd1];\nld.global.v2.b32 {%wb0, %wb1}, [%rd1+8];\n\
                 mul.wide.u32 %rd2, %t, 32;\nadd.u64 %rd2, %rd2, %out;\n",
            );
            for number in 0..counts[0] {
                body += &format!("ld.global.b32 %wc{number}, [%rd1+{}];\n", 16 + number * 4);
            }
            body += &format!(
                "mma.sync.aligned.m8n8k4.{layout_a}.{layout_b}.{d_name}.f16.f16.{c_name} {}, {{%wa0, %wa1}}, {{%wb0, %wb1}}, {};\n",
                list("d", counts[1]),
                list("c", counts[0]),
            );
            for number in 0..counts[1] {
                body += &format!("st.global.b32 [%rd2+{}], %wd{number};\n", number * 4);
            }
            let got = Kernel { body: &body, data, ..Kernel::default() }.out(make);
            for lane in 0..32 {
                let [a, b, c] = &matrices[lane % 16 / 4];
                let sums: Vec<i64> = (0..8)
                    .map(|i| quad_place(d_type, lane, i))
                    .map(|[row, column]| {
                        c.at(row, column) + (0..4).map(|k| a.at(row, k) * b.at(k, column)).sum::<i64>()
                    })
                    .collect();
                let want = packed(d_type, &sums);
                assert_eq!(got[lane * 8..lane * 8 + want.len()], want, "{body} lane {lane}");
            }
        }
    }
}

fn integer_products_are_clamped_where_asked(make: Make<'_>) {
    for (suffix, want) in [("", i32::MAX.wrapping_add(127 * 127 * 16)), (".satfinite", i32::MAX)] {
        let body = format!(
            "mov.u32 %r1, 0x7f7f7f7f;\nmov.u32 %r2, 0x7fffffff;\n\
             mma.sync.aligned.m8n8k16.row.col{suffix}.s32.s8.s8.s32 {{%r3, %r4}}, {{%r1}}, {{%r1}}, {{%r2, %r2}};\n\
             st.global.u32 [%mine], %r4;"
        );
        let got = Kernel { body: &body, ..Kernel::default() }.out(make);
        assert_eq!(got[..32], [want as u32; 32], "{suffix}");
    }
}

crate::for_each_executor!(
    quads_of_lanes_multiply_matrices_of_their_own,
    integer_products_are_clamped_where_asked,
    products_of_fragments_are_those_of_matrices,
    matrices_of_shared_memory_are_loaded_as_fragments,
    fragments_go_back_to_shared_memory_as_they_came,
);
