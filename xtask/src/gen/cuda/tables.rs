//! The tables, read.

use std::collections::BTreeMap;

use anyhow::Context;
use anyhow::ensure;

/// One exported function.
pub(super) struct Function {
    /// The symbol without a suffix for the default stream.
    pub symbol: String,
    /// The driver version that brought this form.
    pub since: u32,
    /// Suffix of the variant whose default stream is the calling thread's: `ptsz` or `ptds`.
    pub per_thread: Option<String>,
    /// Names and types.
    pub params: Vec<(String, String)>,
    /// The path of what implements it, below `crate::api`.
    pub target: Option<String>,
    /// Why nothing does.
    pub reason: String,
}

impl Function {
    /// The name that `cuGetProcAddress` knows: without a version.
    pub(super) fn base(&self) -> &str {
        match self.symbol.rsplit_once("_v") {
            Some((base, version)) if version.bytes().all(|byte| byte.is_ascii_digit()) => base,
            _ => &self.symbol,
        }
    }
}

/// An enumeration.
pub(super) struct Enum {
    pub name: String,
    pub prefix: String,
    pub constants: Vec<(String, i64)>,
}

/// A structure.
pub(super) struct Struct {
    pub name: String,
    pub bytes: usize,
    /// Offset, name, type.
    pub fields: Vec<(usize, String, String)>,
}

/// All of them.
pub(super) struct Tables {
    pub functions: Vec<Function>,
    pub enums: Vec<Enum>,
    pub structs: Vec<Struct>,
    pub handles: Vec<String>,
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

impl Tables {
    pub(super) fn parse(
        functions: &str,
        enums: &str,
        structs: &str,
        handles: &str,
        targets: &str,
    ) -> anyhow::Result<Self> {
        let mut made = Self {
            functions: lines(functions).map(function).collect::<Result<_, _>>()?,
            enums: Vec::new(),
            structs: Vec::new(),
            handles: lines(handles).map(str::to_owned).collect(),
        };
        for line in lines(enums) {
            let mut words = line.split_whitespace();
            let (name, value) = (words.next().context("empty line")?, words.next().context("one word")?);
            if line.starts_with(' ') {
                let last = made.enums.last_mut().context("a constant before an enumeration")?;
                last.constants.push((name.to_owned(), value.parse()?));
            } else {
                let (name, prefix) = (name.to_owned(), value.trim_matches('-').to_owned());
                made.enums.push(Enum { name, prefix, constants: Vec::new() });
            }
        }
        for line in lines(structs) {
            let (first, rest) = line.trim_start().split_once(' ').context("one word")?;
            if line.starts_with(' ') {
                let (name, kind) = rest.split_once(' ').context("a field without a type")?;
                let last = made.structs.last_mut().context("a field before a structure")?;
                last.fields.push((first.parse()?, name.to_owned(), kind.to_owned()));
            } else {
                made.structs.push(Struct {
                    name: first.to_owned(),
                    bytes: rest.parse()?,
                    fields: Vec::new(),
                });
            }
        }
        made.bind(targets)?;
        Ok(made)
    }

    /// Says of each function what implements it, or why nothing does.
    fn bind(&mut self, targets: &str) -> anyhow::Result<()> {
        let mut module = String::new();
        let mut paths: BTreeMap<&str, String> = BTreeMap::new();
        let mut reasons: Vec<(&str, &str)> = Vec::new();
        for line in lines(targets) {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                name.clone_into(&mut module);
                continue;
            }
            let (symbol, rest) = line.split_once(' ').with_context(|| format!("half a line: {line}"))?;
            if module == "-" {
                reasons.push((symbol, rest));
            } else {
                let old = paths.insert(symbol, format!("{module}::{rest}"));
                ensure!(old.is_none(), "{symbol} twice");
            }
        }
        for function in &mut self.functions {
            function.target = paths.remove(function.symbol.as_str());
            if function.target.is_none() {
                let reason = reasons.iter().find(|(prefix, _)| function.symbol.starts_with(prefix));
                function.reason = reason.map_or("not written", |(_, reason)| reason).to_owned();
            }
        }
        ensure!(paths.is_empty(), "targets of no function: {paths:?}");
        Ok(())
    }
}

fn function(line: &str) -> anyhow::Result<Function> {
    let mut words = line.split_whitespace();
    let mut next = || words.next().with_context(|| format!("half a line: {line}"));
    let (symbol, since, variant) = (next()?.to_owned(), next()?.parse()?, next()?);
    let per_thread = (variant != "-").then(|| variant.to_owned());
    let params = words
        .map(|word| {
            let (name, kind) = word.split_once(':').with_context(|| format!("no type: {line}"))?;
            Ok((name.to_owned(), kind.to_owned()))
        })
        .collect::<anyhow::Result<_>>()?;
    Ok(Function { symbol, since, per_thread, params, target: None, reason: String::new() })
}
