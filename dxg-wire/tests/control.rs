//! The control protocol and the runtime directories.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::ffi::OsString;
use std::path::Path;
use std::path::PathBuf;

use dxg_wire::control;
use dxg_wire::control::Client;
use dxg_wire::control::ControlError;
use dxg_wire::control::MAX_LINE_BYTES;
use dxg_wire::control::Reply;
use dxg_wire::control::Request;
use dxg_wire::control::State;
use dxg_wire::control::Vgpu;
use dxg_wire::runtime_dir;

#[test]
fn requests_are_one_line_of_json_each() {
    let text = |request| String::from_utf8(control::to_line(request).unwrap()).unwrap();
    assert_eq!(text(Request::List), "{\"protocol\":1,\"request\":\"list\"}\n");
    assert_eq!(
        text(Request::Info { vgpu: "0".into() }),
        "{\"protocol\":1,\"request\":\"info\",\"vgpu\":\"0\"}\n"
    );
}

#[test]
fn messages_are_read_line_by_line() {
    let client = Client { pid: 1, uid: 2, name: "a\nb".into(), session: 3, used_bytes: 1 << 60, since: 5 };
    let vgpu = Vgpu { uuid: "u".into(), clients: vec![client], ..Vgpu::default() };
    let first = Reply::State(State { vgpus: vec![vgpu.clone()], ..State::default() });
    let second = Reply::Vgpu(vgpu);
    let mut bytes = Vec::new();
    control::write(&mut bytes, &first).unwrap();
    control::write(&mut bytes, &second).unwrap();
    let mut from = &bytes[..];
    assert_eq!(control::read::<Reply>(&mut from).unwrap(), first);
    assert_eq!(control::read::<Reply>(&mut from).unwrap(), second);
    assert!(matches!(control::read::<Reply>(&mut from), Err(ControlError::HangUp)));
}

#[test]
fn fields_of_other_versions_do_no_harm() {
    let line = br#"{"protocol":9,"reply":"vgpu","uuid":"u","colour":"red"}"#;
    let expected = Vgpu { uuid: "u".into(), ..Vgpu::default() };
    assert_eq!(control::from_line::<Reply>(line).unwrap(), Reply::Vgpu(expected));
}

#[test]
fn lines_that_are_no_message_are_refused() {
    assert!(matches!(control::from_line::<Request>(b"{}"), Err(ControlError::Malformed(_))));
    let unknown = br#"{"protocol":1,"request":"dance"}"#;
    assert!(matches!(control::from_line::<Request>(unknown), Err(ControlError::Malformed(_))));
    let long = vec![b' '; MAX_LINE_BYTES + 1];
    assert!(matches!(control::read::<Request>(&mut &long[..]), Err(ControlError::TooLong)));
    assert!(matches!(control::read::<Request>(&mut &b""[..]), Err(ControlError::HangUp)));
}

/// An environment made of pairs.
fn env(pairs: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<OsString> {
    move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
}

#[test]
fn runtime_variable_wins_over_everything() {
    let env = env(&[("DXG_RUNTIME_DIR", "/tmp/x"), ("XDG_RUNTIME_DIR", "/run/user/7")]);
    assert_eq!(runtime_dir::of_daemon(&env, 0), Some(PathBuf::from("/tmp/x")));
    assert_eq!(runtime_dir::of_daemon(&env, 7), Some(PathBuf::from("/tmp/x")));
    assert_eq!(runtime_dir::of_guest(&env), [PathBuf::from("/tmp/x")]);
}

#[test]
fn daemon_of_root_is_system_wide_and_that_of_a_user_is_his() {
    let user = env(&[("XDG_RUNTIME_DIR", "/run/user/7")]);
    assert_eq!(runtime_dir::of_daemon(&user, 0), Some(PathBuf::from("/run/dxg")));
    assert_eq!(runtime_dir::of_daemon(&user, 7), Some(PathBuf::from("/run/user/7/dxg")));
    assert_eq!(runtime_dir::of_daemon(env(&[]), 7), None);
}

#[test]
fn guest_looks_at_the_users_daemon_first() {
    let user = env(&[("XDG_RUNTIME_DIR", "/run/user/7")]);
    let expected = [PathBuf::from("/run/user/7/dxg"), PathBuf::from("/run/dxg")];
    assert_eq!(runtime_dir::of_guest(&user), expected);
    assert_eq!(runtime_dir::of_guest(env(&[])), [PathBuf::from("/run/dxg")]);
    assert_eq!(runtime_dir::of_guest(env(&[("XDG_RUNTIME_DIR", "/run")])), [PathBuf::from("/run/dxg")]);
}

#[test]
fn empty_and_relative_variables_count_as_unset() {
    let odd = env(&[("DXG_RUNTIME_DIR", ""), ("XDG_RUNTIME_DIR", "run")]);
    assert_eq!(runtime_dir::of_daemon(&odd, 7), None);
    assert_eq!(runtime_dir::of_guest(&odd), [PathBuf::from("/run/dxg")]);
}

#[test]
fn files_of_a_runtime_directory_have_fixed_names() {
    let dir = Path::new("/run/dxg");
    assert_eq!(runtime_dir::vgpu_socket(dir, "abc"), Path::new("/run/dxg/vgpu/abc.sock"));
    assert_eq!(runtime_dir::control_socket(dir), Path::new("/run/dxg/control.sock"));
    assert_eq!(runtime_dir::lock_file(dir), Path::new("/run/dxg/dxgd.lock"));
}
