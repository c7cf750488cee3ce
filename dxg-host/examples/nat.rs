#![allow(missing_docs, unsafe_code, clippy::all)]
use ash::vk; use std::time::*;
fn stat(n: &str, v: &mut Vec<u64>) { v.sort(); println!("{n}: p10 {} p50 {} p90 {} p99 {} ns", v[v.len()/10], v[v.len()/2], v[v.len()*9/10], v[v.len()*99/100]); }
fn main() { unsafe {
  let lib = Box::leak(Box::new(libloading::Library::new("libvulkan.so.1").unwrap()));
  let f = *lib.get::<vk::PFN_vkGetInstanceProcAddr>(b"vkGetInstanceProcAddr\0").unwrap();
  let e = ash::Entry::from_static_fn(ash::StaticFn{get_instance_proc_addr:f});
  let ai = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
  let i = e.create_instance(&vk::InstanceCreateInfo::default().application_info(&ai), None).unwrap();
  let pd = i.enumerate_physical_devices().unwrap()[0];
  let p=[1.0]; let q=[vk::DeviceQueueCreateInfo::default().queue_priorities(&p)];
  let mut f12 = vk::PhysicalDeviceVulkan12Features::default().timeline_semaphore(true);
  let mut f13 = vk::PhysicalDeviceVulkan13Features::default().synchronization2(true);
  let d = i.create_device(pd, &vk::DeviceCreateInfo::default().queue_create_infos(&q).push_next(&mut f12).push_next(&mut f13), None).unwrap();
  let q = d.get_device_queue(0,0);
  let busy: usize = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
  for _ in 0..busy { std::thread::spawn(|| loop { std::hint::spin_loop() }); }
  let fence = d.create_fence(&Default::default(), None).unwrap();
  let mut v=vec![];
  for _ in 0..3000 { let t=Instant::now(); d.queue_submit(q, &[], fence).unwrap(); d.wait_for_fences(&[fence], true, u64::MAX).unwrap(); v.push(t.elapsed().as_nanos() as u64); d.reset_fences(&[fence]).unwrap(); }
  stat("fence wait", &mut v);
  let mut ti = vk::SemaphoreTypeCreateInfo::default().semaphore_type(vk::SemaphoreType::TIMELINE);
  let s = d.create_semaphore(&vk::SemaphoreCreateInfo::default().push_next(&mut ti), None).unwrap();
  let mut v=vec![]; let mut w=vec![];
  for k in 1..=3000u64 { let t=Instant::now(); let si=[vk::SemaphoreSubmitInfo::default().semaphore(s).value(k).stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)];
    d.queue_submit2(q, &[vk::SubmitInfo2::default().signal_semaphore_infos(&si)], vk::Fence::null()).unwrap(); w.push(t.elapsed().as_nanos() as u64);
    d.wait_semaphores(&vk::SemaphoreWaitInfo::default().semaphores(&[s]).values(&[k]), u64::MAX).unwrap(); v.push(t.elapsed().as_nanos() as u64); }
  stat("timeline submit", &mut w); stat("timeline submit+wait", &mut v);
  let mut v=vec![];
  for k in 3001..=6000u64 { let t=Instant::now(); let si=[vk::SemaphoreSubmitInfo::default().semaphore(s).value(k).stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)];
    d.queue_submit2(q, &[vk::SubmitInfo2::default().signal_semaphore_infos(&si)], vk::Fence::null()).unwrap();
    while d.get_semaphore_counter_value(s).unwrap() < k {}
    v.push(t.elapsed().as_nanos() as u64); }
  stat("timeline submit+poll", &mut v);
}}
