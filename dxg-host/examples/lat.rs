#![allow(missing_docs, dead_code)]
#[path = "../tests/vulkan/guest.rs"] mod guest;
use guest::*; use dxg_wire::vulkan::op; use dxg_wire::session::StreamKind; use std::time::*;
fn main() {
  let lib = std::path::Path::new("libvulkan.so.1");
  let t=Instant::now();
  let a = dxg_host::adapter::vulkan::open_library(lib, None).unwrap();
  println!("open {:?} {:?}", t.elapsed(), a.identity().name);
  let mut g = Guest::open(&a, StreamKind::VULKAN_DEVICE);
  let (cell, at) = g.cell(0);
  let r = g.call(op::CREATE_DEVICE, |e| { e.u32(1); e.u32(0); e.u32(1); e.u32(1); e.u32(0); e.u32(0); e.u32(0); e.u64(at); });
  println!("create {r:?}");
  let busy: usize = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
  for _ in 0..busy { std::thread::spawn(|| loop { std::hint::spin_loop() }); }
  for gap in [0u64, 100, 1000] {
  let mut v = vec![];
  let base = cell.value();
  for i in 1..=3000u64 {
    if gap > 0 { std::thread::sleep(Duration::from_micros(gap)); }
    if gap >= 1000 && i > 500 { break }
    let t = Instant::now();
    g.post(op::QUEUE_SUBMIT, |e| { e.u32(0); e.u64(base+i); e.u32(0); });
    g.wait(&cell, base+i);
    v.push(t.elapsed().as_nanos() as u64);
  }
  v.sort(); println!("gap {gap}us: p10 {} p50 {} p90 {} p99 {} ns", v[v.len()/10], v[v.len()/2], v[v.len()*9/10], v[v.len()*99/100]);
  }
  println!("{:?}", g.close());
}
