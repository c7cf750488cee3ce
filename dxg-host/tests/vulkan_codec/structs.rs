//! What is done with each structure: it crosses, and what comes out is compared with what went in.

use bumpalo::Bump;
use dxg_wire::codec::DecodeError;
use dxg_wire::codec::Decoder;
use dxg_wire::codec::Encoder;
use dxg_wire::generated::vulkan::ObjectKind;

use crate::fill::Fill;
use crate::fill::KNOWN;
use crate::objects::Objects;
use crate::reader::ReadError;
use crate::reader::Reader;
use crate::reader::arena;

type Decode<T> = for<'a, 'o, 'r> fn(&'r mut Reader<'a, 'o>) -> Result<T, ReadError>;

/// How a structure that the host fills crosses and comes back.
pub(crate) struct Output<T> {
    pub(crate) caller: fn(&mut Fill) -> T,
    pub(crate) encode: fn(&mut Encoder, &T),
    pub(crate) decode: Decode<T>,
    pub(crate) drive: fn(&mut Fill, &mut T),
    pub(crate) reply: fn(&mut Encoder, &T),
    pub(crate) fill: for<'d, 'r> fn(&'r mut Decoder<'d>, &mut T) -> Result<(), DecodeError>,
    pub(crate) same: fn(&T, &T) -> bool,
}

/// What is done with each structure.
pub(crate) struct Case {
    objects: Objects,
    arena: Bump,
    rounds: usize,
    mutations: usize,
    pub(crate) decoded_mutants: usize,
}

impl Case {
    pub(crate) fn new(rounds: usize, mutations: usize) -> Self {
        let mut objects = Objects::default();
        for kind in 0..ObjectKind::COUNT {
            for slot in 1..=KNOWN {
                let id = slot | 1 << 32;
                assert_eq!(objects.insert(ObjectKind(kind as u8), id, id, 0), Ok(()));
            }
        }
        Self { objects, arena: arena(), rounds, mutations, decoded_mutants: 0 }
    }

    pub(crate) fn run<T: Copy + 'static>(
        &mut self,
        name: &str,
        fill: fn(&mut Fill) -> T,
        encode: fn(&mut Encoder, &T),
        decode: Decode<T>,
        same: fn(&T, &T) -> bool,
    ) {
        for round in 0..self.rounds {
            let mut filler = Fill::new(round as u64 ^ name.len() as u64, round);
            let value = fill(&mut filler);
            let mut bytes = Encoder::new();
            encode(&mut bytes, &value);
            self.arena.reset();
            let mut reader = Reader::new(bytes.as_slice(), &self.arena, &self.objects);
            let decoded =
                decode(&mut reader).unwrap_or_else(|error| panic!("{name}, round {round}: {error}"));
            reader.finish().unwrap_or_else(|error| panic!("{name}, round {round}: {error}"));
            assert!(same(&value, &decoded), "{name}, round {round}: another value came out");
            let mut again = Encoder::new();
            encode(&mut again, &decoded);
            assert_eq!(bytes.as_slice(), again.as_slice(), "{name}, round {round}");
            for _ in 0..self.mutations {
                self.mutant(&mut filler, bytes.as_slice(), encode, decode);
            }
        }
    }

    /// A program's structure goes to the host, is filled there, and comes back.
    pub(crate) fn run_output<T: Copy + 'static>(&mut self, name: &str, output: Output<T>) {
        for round in 0..self.rounds {
            let mut filler = Fill::new(round as u64 ^ name.len() as u64, round);
            let mut ours = (output.caller)(&mut filler);
            let mut request = Encoder::new();
            (output.encode)(&mut request, &ours);
            self.arena.reset();
            let mut reader = Reader::new(request.as_slice(), &self.arena, &self.objects);
            let mut theirs =
                (output.decode)(&mut reader).unwrap_or_else(|error| panic!("{name}, round {round}: {error}"));
            reader.finish().unwrap_or_else(|error| panic!("{name}, round {round}: {error}"));
            (output.drive)(&mut filler, &mut theirs);
            let mut reply = Encoder::new();
            (output.reply)(&mut reply, &theirs);
            let mut decoder = Decoder::new(reply.as_slice());
            (output.fill)(&mut decoder, &mut ours)
                .unwrap_or_else(|error| panic!("{name}, round {round}: {error}"));
            decoder.finish().unwrap_or_else(|error| panic!("{name}, round {round}: {error}"));
            assert!((output.same)(&theirs, &ours), "{name}, round {round}: another value came back");
            for _ in 0..self.mutations {
                self.output_mutant(&mut filler, request.as_slice(), &output);
            }
        }
    }

    /// Decodes changed bytes; what comes out is followed along all its pointers.
    pub(crate) fn mutant<T>(
        &mut self,
        random: &mut Fill,
        bytes: &[u8],
        encode: fn(&mut Encoder, &T),
        decode: Decode<T>,
    ) {
        let bytes = random.changed(bytes);
        self.arena.reset();
        let mut reader = Reader::new(&bytes, &self.arena, &self.objects);
        if let Ok(value) = decode(&mut reader) {
            encode(&mut Encoder::new(), &value);
            self.decoded_mutants += 1;
        }
    }

    /// Decodes a changed request for an output, and fills what comes out as far as it says there is room.
    pub(crate) fn output_mutant<T>(&mut self, random: &mut Fill, bytes: &[u8], output: &Output<T>) {
        let bytes = random.changed(bytes);
        self.arena.reset();
        let mut reader = Reader::new(&bytes, &self.arena, &self.objects);
        if let Ok(mut value) = (output.decode)(&mut reader) {
            (output.drive)(random, &mut value);
            (output.reply)(&mut Encoder::new(), &value);
            self.decoded_mutants += 1;
        }
    }
}
