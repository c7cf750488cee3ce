//! `cargo xtask test --clients`: programs that others wrote, unmodified, natively and over the driver.

mod install;
mod list;
mod outcome;
mod run;

use std::env;
use std::fmt::Write as _;
use std::fs;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;

use self::list::Client;
use self::list::Origin;
use self::run::Layout;
use self::run::Place;
use crate::artifacts::Profile;
use crate::stage;
use crate::workspace::Workspace;

/// How a client did.
enum Verdict {
    Same,
    /// A program that compares by itself found all as it should be.
    Right,
    Differs(String),
    /// It does not run on the machine's own driver, so there is nothing to compare with.
    NotCompared,
}

/// A row of the table.
struct Row {
    client: &'static Client,
    version: String,
    native: String,
    verdict: Verdict,
}

const DOCUMENT: &str = "docs/clients.md";

/// Runs all clients, or the one with this name. It is an error when one differs, or none can be compared.
pub(super) fn run(workspace: &Workspace, name: Option<&str>) -> Result<()> {
    let chosen: Vec<&'static Client> =
        list::ALL.iter().filter(|client| name.is_none_or(|name| client.name == name)).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = list::ALL.iter().map(|client| client.name).collect();
        bail!("there is no such client; there are: {}", names.join(", "));
    }
    let mut layout = Layout::new(workspace);
    fs::create_dir_all(layout.out()).with_context(|| format!("cannot make {}", layout.out().display()))?;
    // CUDA programs run generated code of ours, which a debug build makes slowly.
    stage::stage(workspace, Profile::Release)?;
    install::ensure(&layout, &chosen)?;
    layout.find_device()?;
    let mut rows = Vec::new();
    for client in chosen {
        println!("\n== {}", client.name);
        let row = judge(&layout, client)?;
        println!("natively: {}\nover ours: {}", row.native, row.ours());
        rows.push(row);
    }
    println!("\n{}", table(&rows));
    println!("logs and pictures: {}", layout.out().display());
    if name.is_none() && env::var_os("UPDATE_GOLDEN").is_some() {
        let document = workspace.root.join(DOCUMENT);
        let text = fs::read_to_string(&document).with_context(|| format!("cannot read {DOCUMENT}"))?;
        let head = text.split("| client").next().unwrap_or_default();
        fs::write(&document, format!("{head}{}", table(&rows)))
            .with_context(|| format!("cannot write {DOCUMENT}"))?;
    }
    conclude(&rows)
}

/// Runs a client in both places.
fn judge(layout: &Layout, client: &'static Client) -> Result<Row> {
    let version = install::version(layout, client)?;
    if let list::Program::Test(_) = client.program {
        // The test runs the program in both places and compares by itself.
        let verdict = match layout.run(client, Place::Native) {
            Ok(left) if left.is_empty() => Verdict::Same,
            // It says that it was skipped.
            Ok(_) => Verdict::NotCompared,
            Err(error) => Verdict::Differs(format!("its test {error:#}")),
        };
        let native = "all facts but those of `vulkan-differences.md`".to_owned();
        return Ok(Row { client, version, native, verdict });
    }
    if let list::Program::Checked(_) | list::Program::CheckedCrate(_) = client.program {
        let (native, verdict) = match layout.run(client, Place::Ours) {
            Ok(left) if !left.is_empty() => (left.summary(), Verdict::Right),
            Ok(_) => ("said nothing".to_owned(), Verdict::Differs("it said nothing".to_owned())),
            Err(error) => ("compares by itself".to_owned(), Verdict::Differs(format!("{error:#}"))),
        };
        return Ok(Row { client, version, native, verdict });
    }
    let native = match layout.run(client, Place::Native) {
        Ok(native) => native,
        Err(error) => {
            let native = format!("{error:#}");
            return Ok(Row { client, version, native, verdict: Verdict::NotCompared });
        }
    };
    if native.is_empty() {
        let native = "left nothing to compare".to_owned();
        return Ok(Row { client, version, native, verdict: Verdict::NotCompared });
    }
    let verdict = match layout.run(client, Place::Ours) {
        Ok(ours) => outcome::difference(&native, &ours).map_or(Verdict::Same, Verdict::Differs),
        Err(error) => Verdict::Differs(format!("{error:#}")),
    };
    Ok(Row { client, version, native: native.summary(), verdict })
}

impl Row {
    fn ours(&self) -> String {
        match &self.verdict {
            Verdict::Same => "the same".to_owned(),
            Verdict::Right => "right".to_owned(),
            Verdict::Differs(how) => format!("DIFFERS: {how}"),
            Verdict::NotCompared => "not compared".to_owned(),
        }
    }
}

/// The table for people.
fn table(rows: &[Row]) -> String {
    let mut text =
        "| client | version | what is compared | natively | over ours |\n| --- | --- | --- | --- | --- |\n"
            .to_owned();
    for row in rows {
        let origin = match row.client.origin {
            Origin::Debian(package) if package != row.client.name => format!(" (Debian's {package})"),
            Origin::Debian(_) => " (Debian)".to_owned(),
            Origin::Pypi(_) => " (PyPI)".to_owned(),
            Origin::Crate(_) => " (Rust registry)".to_owned(),
        };
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {} | {}{origin} | {} | {} | {} |",
            row.client.name,
            row.version,
            row.client.what,
            row.native.replace('|', "\\|"),
            row.ours().replace('|', "\\|"),
        );
    }
    text
}

fn conclude(rows: &[Row]) -> Result<()> {
    let count = |wanted: fn(&Verdict) -> bool| rows.iter().filter(|row| wanted(&row.verdict)).count();
    let same = count(|verdict| matches!(verdict, Verdict::Same));
    let right = count(|verdict| matches!(verdict, Verdict::Right));
    let differ = count(|verdict| matches!(verdict, Verdict::Differs(_)));
    let not_compared = count(|verdict| matches!(verdict, Verdict::NotCompared));
    println!("{same} the same, {right} right, {differ} differ, {not_compared} not compared");
    if differ > 0 {
        bail!("{differ} clients differ from their native run, or from what they should compute");
    }
    if same + right == 0 {
        bail!("no client could be compared");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(verdict: Verdict) -> Row {
        Row { client: &list::ALL[0], version: "1".to_owned(), native: "a|b".to_owned(), verdict }
    }

    #[test]
    fn conclusion_is_good_only_where_something_is_the_same_and_nothing_differs() {
        assert!(conclude(&[row(Verdict::Same), row(Verdict::NotCompared)]).is_ok());
        assert!(conclude(&[row(Verdict::Same), row(Verdict::Differs("x".to_owned()))]).is_err());
        assert!(conclude(&[row(Verdict::Right)]).is_ok());
        assert!(conclude(&[row(Verdict::NotCompared)]).is_err());
    }

    #[test]
    fn table_keeps_bars_inside_their_cell() {
        let text = table(&[row(Verdict::Differs("it says `x|y`".to_owned()))]);
        let line = text.lines().last().unwrap();
        assert_eq!(line.replace("\\|", "").matches('|').count(), 6);
    }

    #[test]
    fn clients_have_names_of_their_own() {
        let mut names: Vec<&str> = list::ALL.iter().map(|client| client.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), list::ALL.len());
    }
}
