//! A kernel on words: its text, its launch, what it leaves.

use dxg_ptx::exec::Fault;
use dxg_ptx::exec::Launch;
use dxg_ptx::exec::Residency;

use crate::support::arena::Arena;
use crate::support::program::Make;
use crate::support::program::Program;

/// One launch of the entry `k(.param .u64 data, .param .u64 out)`.
pub(crate) struct Kernel<'t> {
    /// What stands before the entry.
    pub(crate) outside: &'t str,
    /// Another module without its head; none if empty.
    pub(crate) library: &'t str,
    /// The body. `%data` and `%out` are the buffers, `%t` the number of the thread in the block, `%g` in the grid, `%mine`
    /// the address of the thread's word in `out`. `%r<16>`, `%rd<16>`, `%p<8>`, `%f<16>`, `%h<8>` are free.
    pub(crate) body: &'t str,
    pub(crate) data: Vec<u32>,
    pub(crate) out: Vec<u32>,
    pub(crate) grid: u32,
    pub(crate) block: u32,
    pub(crate) residency: Residency,
}

impl Default for Kernel<'_> {
    fn default() -> Self {
        Self {
            outside: "",
            library: "",
            body: "",
            data: Vec::new(),
            out: vec![0; 1024],
            grid: 1,
            block: 32,
            residency: Residency::Independent,
        }
    }
}

/// What a launch left.
pub(crate) struct Left {
    pub(crate) data: Vec<u32>,
    pub(crate) out: Vec<u32>,
    pub(crate) printed: String,
    pub(crate) outcome: Result<(), Fault>,
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn words(arena: &Arena, address: u64, count: usize) -> Vec<u32> {
    let bytes = arena.read(address, count * 4);
    bytes.chunks(4).map(|word| u32::from_le_bytes(word.try_into().expect("four bytes"))).collect()
}

impl Kernel<'_> {
    pub(crate) fn text(&self) -> String {
        format!(
            ".version 8.6\n.target sm_90\n.address_size 64\n{}\n\
             .visible .entry k(.param .u64 data, .param .u64 out)\n{{\n\
             .reg .b32 %t, %g, %r<16>;\n.reg .b64 %data, %out, %mine, %rd<16>;\n.reg .pred %p<8>;\n\
             .reg .f32 %f<16>;\n.reg .b16 %h<8>;\n\
             ld.param.u64 %data, [data];\nld.param.u64 %out, [out];\n\
             mov.u32 %t, %tid.x;\nmov.u32 %g, %ctaid.x;\nmov.u32 %r0, %ntid.x;\n\
             mad.lo.u32 %g, %g, %r0, %t;\nmad.wide.u32 %mine, %g, 4, %out;\n\
             {}\nret;\n}}\n",
            self.outside, self.body
        )
    }

    pub(crate) fn run(&self, make: Make<'_>) -> Left {
        let text = self.text();
        let parse = |text: &str| {
            dxg_ptx::parse(text.as_bytes(), "kernel").unwrap_or_else(|problems| panic!("{problems}\n{text}"))
        };
        let mut module = parse(&text);
        if !self.library.is_empty() {
            let head = text.lines().take(3).collect::<Vec<_>>().join("\n");
            let library = parse(&format!("{head}\n{}", self.library));
            module = dxg_ptx::link(vec![module, library], "linked").expect("the modules fit");
        }
        let arena = Arena::new(4 << 20);
        let program = Program::new(make, module, &arena);
        let [data, out] = [&self.data, &self.out].map(|words| {
            let address = arena.take(words.len() * 4);
            arena.write(address, &bytes(words));
            address
        });
        let workspace = arena.take(256);
        let launch = Launch {
            grid: [self.grid, 1, 1],
            block: [self.block, 1, 1],
            params: [data.to_le_bytes(), out.to_le_bytes()].concat(),
            residency: self.residency,
            workspace,
            ..Launch::default()
        };
        let outcome = program.run("k", &launch, &arena);
        Left {
            data: words(&arena, data, self.data.len()),
            out: words(&arena, out, self.out.len()),
            printed: arena.printed(),
            outcome,
        }
    }

    /// What is left in `out`, by a launch that does not fail.
    pub(crate) fn out(&self, make: Make<'_>) -> Vec<u32> {
        let left = self.run(make);
        assert_eq!(left.outcome, Ok(()));
        left.out
    }
}
