//! Presenting: to windows of an X server, and to nobody.

use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use ash::vk;

use super::Case;
use super::same;
use super::scenarios;
use crate::gpu::Chain;
use crate::gpu::Gpu;
use crate::gpu::HANG;
use crate::gpu::Surface;
use crate::gpu::WHOLE;
use crate::gpu::Window;

scenarios![
    window_shows_frames,
    window_modes,
    window_mutable_format,
    window_resized,
    window_destroyed,
    window_acquire_all,
    window_image_of_another_handle,
    headless_frames,
    present_ids,
];

const PRESENT: vk::ImageLayout = vk::ImageLayout::PRESENT_SRC_KHR;
const TO: vk::ImageLayout = vk::ImageLayout::TRANSFER_DST_OPTIMAL;
const FOREVER: u64 = u64::MAX;

/// Red, green and blue of a frame, each as it is seen.
fn color(frame: u32) -> ([f32; 4], u32) {
    let part = |shift: u32| (frame * 37 + shift * 59) % 256;
    let [r, g, b] = [part(0), part(1), part(2)];
    ([r, g, b, 255].map(|part| part as f32 / 255.0), r << 16 | g << 8 | b)
}

fn window(case: &Case, gpu: &Gpu) -> Result<(Window, Surface)> {
    case.need(gpu.physical.instance.has_xcb, "VK_KHR_xcb_surface")?;
    let window = Window::open(64, 48);
    case.need(window.is_some(), "X server beside it")?;
    let window = window.context("a window")?;
    let surface = Surface::of_window(&gpu.physical.instance, &window)?;
    ensure!(surface.is_supported(gpu)?, "the queue presents");
    Ok((window, surface))
}

fn info(gpu: &Gpu, surface: &Surface) -> Result<vk::SwapchainCreateInfoKHR<'static>> {
    let now = surface.capabilities(gpu)?;
    let formats = surface.formats(gpu)?;
    let format = formats.iter().find(|format| format.format == vk::Format::B8G8R8A8_UNORM);
    let format = format.with_context(|| format!("no BGRA among {formats:?}"))?;
    let unknown = now.current_extent.width == u32::MAX;
    let extent = if unknown { vk::Extent2D { width: 64, height: 48 } } else { now.current_extent };
    let alphas = [vk::CompositeAlphaFlagsKHR::OPAQUE, vk::CompositeAlphaFlagsKHR::INHERIT];
    let alpha = alphas.into_iter().find(|alpha| now.supported_composite_alpha.contains(*alpha));
    Ok(vk::SwapchainCreateInfoKHR::default()
        .surface(surface.raw)
        .min_image_count(now.min_image_count)
        .image_format(format.format)
        .image_color_space(format.color_space)
        .image_extent(extent)
        .image_array_layers(1)
        .image_usage(vk::ImageUsageFlags::TRANSFER_DST | vk::ImageUsageFlags::COLOR_ATTACHMENT)
        .pre_transform(now.current_transform)
        .composite_alpha(alpha.context("no usual alpha")?)
        .present_mode(vk::PresentModeKHR::FIFO)
        .clipped(true))
}

/// Acquires, clears and presents one frame; whether the window is still as the swapchain was made for.
fn frame(gpu: &Gpu, chain: &Chain<'_>, number: u32) -> Result<bool, vk::Result> {
    let other = |error: anyhow::Error| {
        error.downcast_ref::<vk::Result>().copied().unwrap_or(vk::Result::ERROR_UNKNOWN)
    };
    let acquired = gpu.semaphore().map_err(other)?;
    let drawn = gpu.semaphore().map_err(other)?;
    let (image, was_suboptimal) = chain.acquire(FOREVER, acquired, vk::Fence::null())?;
    let handle = chain.images.get(image as usize).copied().ok_or(vk::Result::ERROR_UNKNOWN)?;
    let buffer = gpu.recorded(|c| {
        c.to_layout(handle, vk::ImageLayout::UNDEFINED, TO);
        c.clear_color_image(handle, TO, &vk::ClearColorValue { float32: color(number).0 }, &[WHOLE]);
        c.to_layout(handle, TO, PRESENT);
    });
    let buffers = [buffer.map_err(other)?];
    let (waits, stages, signals) = ([acquired], [vk::PipelineStageFlags::ALL_COMMANDS], [drawn]);
    let batch = vk::SubmitInfo::default()
        .wait_semaphores(&waits)
        .wait_dst_stage_mask(&stages)
        .command_buffers(&buffers)
        .signal_semaphores(&signals);
    gpu.queue_submit(gpu.queue, &[batch], vk::Fence::null())?;
    let is_suboptimal = chain.present(image, &signals, u64::from(number) + 1)?;
    Ok(!was_suboptimal && !is_suboptimal)
}

/// Waits until all of a window has a color.
fn wait_for_color(window: &Window, pixels: usize, frame: u32) -> Result<()> {
    let start = Instant::now();
    loop {
        let seen = window.pixels()?;
        if seen.len() == pixels && seen.iter().all(|pixel| *pixel == color(frame).1) {
            return Ok(());
        }
        if start.elapsed() > HANG {
            bail!("frame {frame} is not seen: {:x?} of {} pixels", seen.first(), seen.len());
        }
        std::thread::yield_now();
    }
}

fn window_shows_frames(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let (window, surface) = window(case, &gpu)?;
    let chain = Chain::new(&gpu, &info(&gpu, &surface)?)?;
    for number in 0..12 {
        frame(&gpu, &chain, number)?;
        wait_for_color(&window, 64 * 48, number)?;
    }
    gpu.device_wait_idle()?;
    case.digest(&window.pixels()?);
    Ok(())
}

fn window_modes(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let (window, surface) = window(case, &gpu)?;
    let info = info(&gpu, &surface)?;
    let modes = surface.modes(&gpu)?;
    ensure!(modes.contains(&vk::PresentModeKHR::FIFO), "every surface has FIFO");
    for mode in modes {
        let chain = Chain::new(&gpu, &info.present_mode(mode).min_image_count(4))?;
        ensure!(chain.images.len() >= 4, "as many images as asked");
        for number in 0..40 {
            frame(&gpu, &chain, number)?;
        }
        // The last frame is always seen.
        wait_for_color(&window, 64 * 48, 39)?;
        gpu.device_wait_idle()?;
    }
    Ok(())
}

fn window_mutable_format(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let offered = gpu.physical.extensions()?;
    let mutable = ash::khr::swapchain_mutable_format::NAME;
    case.need(offered.iter().any(|name| name.as_c_str() == mutable), "mutable swapchains")?;
    let (_window, surface) = window(case, &gpu)?;
    let formats = [vk::Format::B8G8R8A8_UNORM, vk::Format::B8G8R8A8_SRGB];
    let mut list = vk::ImageFormatListCreateInfo::default().view_formats(&formats);
    let info = info(&gpu, &surface)?.flags(vk::SwapchainCreateFlagsKHR::MUTABLE_FORMAT).push_next(&mut list);
    let chain = Chain::new(&gpu, &info)?;
    for image in &chain.images {
        let create = vk::ImageViewCreateInfo::default()
            .image(*image)
            .view_type(vk::ImageViewType::TYPE_2D)
            .format(vk::Format::B8G8R8A8_SRGB)
            .subresource_range(WHOLE);
        let view = gpu.create_image_view(&create)?;
        gpu.destroy(view);
    }
    Ok(())
}

fn window_resized(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let (window, surface) = window(case, &gpu)?;
    let first = Chain::new(&gpu, &info(&gpu, &surface)?)?;
    frame(&gpu, &first, 0)?;
    wait_for_color(&window, 64 * 48, 0)?;
    window.resize(100, 30)?;
    let now = surface.capabilities(&gpu)?.current_extent;
    same!((now.width, now.height), (100, 30), "the new size");
    // It says so sooner or later, or goes on.
    for number in 1..8 {
        match frame(&gpu, &first, number) {
            Ok(true) => {}
            Ok(false) | Err(vk::Result::ERROR_OUT_OF_DATE_KHR) => break,
            Err(error) => return Err(error.into()),
        }
    }
    let second = Chain::new(&gpu, &info(&gpu, &surface)?.old_swapchain(first.raw))?;
    frame(&gpu, &second, 9)?;
    wait_for_color(&window, 100 * 30, 9)?;
    gpu.device_wait_idle()?;
    drop(first);
    frame(&gpu, &second, 10)?;
    wait_for_color(&window, 100 * 30, 10)?;
    gpu.device_wait_idle()?;
    case.digest(&window.pixels()?);
    Ok(())
}

fn window_destroyed(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let (window, surface) = window(case, &gpu)?;
    let chain = Chain::new(&gpu, &info(&gpu, &surface)?)?;
    frame(&gpu, &chain, 0)?;
    wait_for_color(&window, 64 * 48, 0)?;
    window.destroy()?;
    same!(surface.capabilities(&gpu).err(), Some(vk::Result::ERROR_SURFACE_LOST_KHR), "the surface");
    // A present that is on its way may still succeed.
    let ended = (1..1000).find_map(|number| frame(&gpu, &chain, number).err());
    ensure!(
        matches!(ended, None | Some(vk::Result::ERROR_SURFACE_LOST_KHR | vk::Result::ERROR_OUT_OF_DATE_KHR)),
        "presenting ends with {ended:?}"
    );
    gpu.device_wait_idle()?;
    Ok(())
}

fn window_acquire_all(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let (_window, surface) = window(case, &gpu)?;
    let chain = Chain::new(&gpu, &info(&gpu, &surface)?)?;
    let fence = gpu.fence()?;
    let mut seen = Vec::new();
    for _ in &chain.images {
        // Validation wants an end to waits that nothing may ever end.
        let (image, _) = chain.acquire(FOREVER - 1, vk::Semaphore::null(), fence)?;
        gpu.wait(fence)?;
        gpu.reset_fences(&[fence])?;
        ensure!(!seen.contains(&image), "image {image} is acquired twice");
        seen.push(image);
    }
    same!(chain.acquire(0, vk::Semaphore::null(), fence).err(), Some(vk::Result::NOT_READY), "at once");
    let soon = chain.acquire(1_000_000, vk::Semaphore::null(), fence).err();
    // Some drivers say of a wait that came to nothing what they say of none.
    ensure!(matches!(soon, Some(vk::Result::TIMEOUT | vk::Result::NOT_READY)), "after a while: {soon:?}");
    Ok(())
}

fn window_image_of_another_handle(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let (window, surface) = window(case, &gpu)?;
    let info = info(&gpu, &surface)?;
    let chain = Chain::new(&gpu, &info)?;
    let mut of = vk::ImageSwapchainCreateInfoKHR::default().swapchain(chain.raw);
    let create = vk::ImageCreateInfo::default()
        .image_type(vk::ImageType::TYPE_2D)
        .format(info.image_format)
        .extent(info.image_extent.into())
        .mip_levels(1)
        .array_layers(1)
        .samples(vk::SampleCountFlags::TYPE_1)
        .usage(info.image_usage)
        .push_next(&mut of);
    let images = chain.images.iter().map(|_| gpu.create_image(&create)).collect::<Result<Vec<_>, _>>()?;
    for (image, index) in images.iter().zip(0..) {
        let mut from = vk::BindImageMemorySwapchainInfoKHR::default().swapchain(chain.raw).image_index(index);
        gpu.bind_image_memory2(&[vk::BindImageMemoryInfo::default().image(*image).push_next(&mut from)])?;
    }
    let fence = gpu.fence()?;
    let (index, _) = chain.acquire(FOREVER, vk::Semaphore::null(), fence)?;
    gpu.wait(fence)?;
    let image = images[index as usize];
    gpu.run(|c| {
        c.to_layout(image, vk::ImageLayout::UNDEFINED, TO);
        c.clear_color_image(image, TO, &vk::ClearColorValue { float32: color(5).0 }, &[WHOLE]);
        c.to_layout(image, TO, PRESENT);
    })?;
    chain.present(index, &[], 1)?;
    wait_for_color(&window, 64 * 48, 5)?;
    gpu.device_wait_idle()?;
    images.into_iter().for_each(|image| gpu.destroy(image));
    Ok(())
}

fn headless_frames(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    case.need(gpu.physical.instance.has_headless, "VK_EXT_headless_surface")?;
    let surface = Surface::headless(&gpu.physical.instance)?;
    let info = info(&gpu, &surface)?;
    for mode in surface.modes(&gpu)? {
        let chain = Chain::new(&gpu, &info.present_mode(mode).min_image_count(3))?;
        for number in 0..20 {
            frame(&gpu, &chain, number)?;
        }
        gpu.device_wait_idle()?;
    }
    Ok(())
}

fn present_ids(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    case.need(gpu.physical.instance.has_headless, "VK_EXT_headless_surface")?;
    let surface = Surface::headless(&gpu.physical.instance)?;
    let chain = Chain::new(&gpu, &info(&gpu, &surface)?.min_image_count(2))?;
    case.need(chain.wait_for(0, 0).is_some(), "VK_KHR_present_wait")?;
    same!(chain.wait_for(1, 1_000_000), Some(Err(vk::Result::TIMEOUT)), "nothing is presented");
    for number in 0..5 {
        frame(&gpu, &chain, number)?;
        let waited = chain.wait_for(u64::from(number) + 1, u64::try_from(HANG.as_nanos())?);
        same!(waited, Some(Ok(())), "frame {number} is presented");
    }
    gpu.device_wait_idle()?;
    Ok(())
}
