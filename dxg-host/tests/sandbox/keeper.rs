//! What a keeper of compiled code that was taken over may do: nothing but with what is in its directory.

use std::fs;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use dxg_host::sandbox;
use dxg_host::sandbox::Policy;
use rustix::fs::AtFlags;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::mm::MapFlags;
use rustix::mm::ProtFlags;

use super::attempts;
use super::inside;
use super::support;

fn code<T>(done: rustix::io::Result<T>) -> i32 {
    done.err().map_or(0, |errno| io::Error::from(errno).raw_os_error().unwrap_or(-1))
}

/// What it does in its directory.
fn at_home(directory: &OwnedFd) -> Vec<(&'static str, i32)> {
    let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let file = rustix::fs::openat(directory, "a", create, Mode::RUSR | Mode::WUSR);
    let written = file.and_then(|file| rustix::io::write(file, b"code"));
    vec![
        ("write", code(written)),
        ("rename", code(rustix::fs::renameat(directory, "a", directory, "b"))),
        ("read", code(rustix::fs::openat(directory, "b", OFlags::RDONLY, Mode::empty()))),
        ("list", code(rustix::fs::Dir::read_from(directory))),
        ("remove", code(rustix::fs::unlinkat(directory, "b", AtFlags::empty()))),
        ("make", code(rustix::fs::mkdirat(directory, "c", Mode::RWXU))),
        ("unmake", code(rustix::fs::unlinkat(directory, "c", AtFlags::REMOVEDIR))),
    ]
}

/// What reaches out of it, or would make code of what lies there.
fn beyond(directory: &OwnedFd, memory: &OwnedFd) -> Vec<(&'static str, i32)> {
    let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let read_and_execute = ProtFlags::READ | ProtFlags::EXEC;
    let mapped = map_of(memory.as_fd(), read_and_execute);
    vec![
        ("read_above", code(rustix::fs::openat(directory, "../secret", OFlags::RDONLY, Mode::empty()))),
        ("write_above", code(rustix::fs::openat(directory, "../fresh", create, Mode::RUSR))),
        ("make_above", code(rustix::fs::mkdirat(directory, "../sub", Mode::RWXU))),
        ("remove_above", code(rustix::fs::unlinkat(directory, "../secret", AtFlags::empty()))),
        ("take_in", code(rustix::fs::renameat(directory, "../secret", directory, "taken"))),
        ("executable_memory", mapped),
        ("thread", std::thread::Builder::new().spawn(|| ()).err().map_or(0, |_| libc::EPERM)),
    ]
}

fn map_of(memory: std::os::fd::BorrowedFd<'_>, access: ProtFlags) -> i32 {
    use std::os::fd::AsRawFd;
    let flags = i64::from(MapFlags::PRIVATE.bits());
    let number = i64::from(memory.as_raw_fd());
    super::machine::call(libc::SYS_mmap, &[0, 4096, i64::from(access.bits()), flags, number, 0])
}

#[test]
#[ignore = "closes its process in; the other test starts it in one of its own"]
fn closed_in_keeper() {
    let directory = PathBuf::from(std::env::var_os(inside::DIRECTORY).unwrap());
    let before = attempts::Prepared::new(&directory);
    let home: OwnedFd = File::open(directory.join("home")).unwrap().into();
    let memory = dxg_wire::shm::create_sealed("test", 4096).unwrap();
    sandbox::harden_keeper().unwrap();
    let level = sandbox::enclose_keeper(Policy::Best, &home).unwrap();
    println!("\nlevel {level}");
    for (name, error) in at_home(&home) {
        println!("home {name} {error}");
    }
    for (name, error) in attempts::forbidden(&before).into_iter().chain(beyond(&home, &memory)) {
        println!("attempt {name} {error}");
    }
}

#[test]
fn keeper_has_its_directory_and_nothing_that_is_refused_to_workers() {
    let dir = support::daemon::fresh_dir();
    fs::create_dir_all(dir.join("home")).unwrap();
    fs::write(dir.join("secret"), "of another").unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "keeper::closed_in_keeper", "--ignored", "--nocapture", "--test-threads=1"])
        .env(inside::DIRECTORY, &dir)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut left: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    fs::remove_dir_all(&dir).unwrap();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let errors = |kind: &str| -> Vec<(String, i32)> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(kind)?.split_once(' '));
        lines.map(|(name, error)| (name.to_owned(), error.parse().unwrap())).collect()
    };
    let at_home = errors("home ");
    assert_eq!(at_home.iter().filter(|(_, error)| *error == 0).count(), 7, "{at_home:?}");
    if !text.contains("level full") {
        return println!("skipped: this system does not let us close in wholly");
    }
    let attempts = errors("attempt ");
    let let_through: Vec<_> = attempts.iter().filter(|(_, error)| *error == 0).collect();
    assert!(
        attempts.len() > 80 && let_through.is_empty(),
        "{} attempts, let: {let_through:?}",
        attempts.len()
    );
    assert_eq!(left, ["home", "secret"]);
}
