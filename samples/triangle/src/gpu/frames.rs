//! A frame: acquire an image, draw, present; and what to do when the window has changed.

use anyhow::Context as _;
use anyhow::Result;
use ash::vk;

use super::Gpu;
use super::keep::Kept;
use super::pipeline::Pipeline;
use super::pipeline::View;
use super::swapchain::Plan;
use super::swapchain::Swapchain;
use crate::Options;
use crate::picture::Picture;

/// How many frames may be under way: the CPU records one while the GPU draws another.
const UNDER_WAY: usize = 2;

/// Whether a frame is the last one, of which a copy is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    /// An ordinary frame.
    No,
    /// The last one; `Renderer::kept` gives its pixels.
    Kept,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drawn {
    /// It is on its way to the screen.
    Presented,
    /// The window changed before there was an image; try again.
    Again,
    /// The window has no area, as when it is minimised.
    NoRoom,
}

/// What one of the frames under way needs for itself.
struct Slot {
    pool: vk::CommandPool,
    commands: vk::CommandBuffer,
    /// Signalled when the image may be drawn to.
    acquired: vk::Semaphore,
    /// Signalled when the commands are done.
    done: vk::Fence,
}

/// Draws frames.
pub(crate) struct Renderer {
    plan: Plan,
    swapchain: Option<Swapchain>,
    /// The swapchain no longer fits the window.
    stale: bool,
    pipeline: Pipeline,
    slots: Vec<Slot>,
    next: usize,
    kept: Option<Kept>,
    gpu: Gpu,
}

impl Renderer {
    /// Prepares for drawing; the swapchain is made with the first frame.
    pub(crate) fn new(gpu: Gpu, options: &Options) -> Result<Self> {
        let usage = match options.screenshot {
            Some(_) => vk::ImageUsageFlags::TRANSFER_SRC,
            None => vk::ImageUsageFlags::empty(),
        };
        let plan = Plan::new(&gpu, options.pace, usage)?;
        let pipeline = Pipeline::new(&gpu.device, plan.format.format)?;
        let slots = (0..UNDER_WAY).map(|_| Slot::new(&gpu)).collect::<Result<_>>()?;
        Ok(Self { plan, swapchain: None, stale: true, pipeline, slots, next: 0, kept: None, gpu })
    }

    /// The window says that its size is another.
    pub(crate) fn resized(&mut self) {
        self.stale = true;
    }

    /// Draws frame `number` in a window of `size` pixels; calls `before_present` right before it presents.
    pub(crate) fn draw(
        &mut self,
        size: [u32; 2],
        number: u64,
        last: Last,
        before_present: impl FnOnce(),
    ) -> Result<Drawn> {
        if self.stale {
            self.replace_swapchain(size)?;
        }
        let (gpu, Some(swapchain)) = (&self.gpu, &self.swapchain) else { return Ok(Drawn::NoRoom) };
        let slot = &self.slots[self.next];
        // SAFETY: the fence is of this device.
        unsafe { gpu.device.wait_for_fences(&[slot.done], true, u64::MAX) }.context("vkWaitForFences")?;
        // SAFETY: nothing waits for the semaphore: the slot's last frame is done.
        let acquired = unsafe {
            gpu.swapchains.acquire_next_image(swapchain.handle, u64::MAX, slot.acquired, vk::Fence::null())
        };
        let index = match acquired {
            Ok((index, suboptimal)) => {
                // A suboptimal image can be drawn to; the next frame gets a better one.
                self.stale = suboptimal;
                index
            }
            Err(vk::Result::ERROR_OUT_OF_DATE_KHR) => {
                self.stale = true;
                return Ok(Drawn::Again);
            }
            Err(error) => return Err(error).context("vkAcquireNextImageKHR"),
        };
        let image = index as usize;
        if last == Last::Kept {
            // One of a frame that did not get to the screen may be there; its commands may not be done.
            if let Some(old) = self.kept.take() {
                // SAFETY: the device is alive.
                unsafe { gpu.device.device_wait_idle() }?;
                old.destroy(gpu);
            }
            self.kept = Some(Kept::new(gpu, swapchain.extent, self.plan.format.format)?);
        }
        self.record(slot, swapchain, image, number)?;
        self.submit(slot, swapchain, image)?;
        before_present();
        let (waits, swapchains, indices) = ([swapchain.images[image].drawn], [swapchain.handle], [index]);
        let present = vk::PresentInfoKHR::default()
            .wait_semaphores(&waits)
            .swapchains(&swapchains)
            .image_indices(&indices);
        // SAFETY: the image was acquired, and its semaphore is signalled by the submission.
        let presented = unsafe { gpu.swapchains.queue_present(gpu.queue, &present) };
        self.next = (self.next + 1) % UNDER_WAY;
        match presented {
            Ok(suboptimal) => self.stale |= suboptimal,
            Err(vk::Result::ERROR_OUT_OF_DATE_KHR) => {
                self.stale = true;
                return Ok(Drawn::Again);
            }
            Err(error) => return Err(error).context("vkQueuePresentKHR"),
        }
        Ok(Drawn::Presented)
    }

    /// The pixels of the last frame.
    pub(crate) fn kept(&self) -> Result<Picture> {
        // SAFETY: the device is alive.
        unsafe { self.gpu.device.device_wait_idle() }.context("vkDeviceWaitIdle")?;
        self.kept.as_ref().context("no frame was kept")?.read(&self.gpu)
    }

    fn replace_swapchain(&mut self, size: [u32; 2]) -> Result<()> {
        // SAFETY: the device is alive.
        unsafe { self.gpu.device.device_wait_idle() }.context("vkDeviceWaitIdle")?;
        let old = self.swapchain.take();
        let made = Swapchain::new(&self.gpu, &self.plan, size, old.as_ref());
        if let Some(old) = old {
            old.destroy(&self.gpu);
        }
        self.swapchain = made?;
        self.stale = self.swapchain.is_none();
        Ok(())
    }

    fn record(&self, slot: &Slot, swapchain: &Swapchain, index: usize, number: u64) -> Result<()> {
        let (device, cb, extent) = (&self.gpu.device, slot.commands, swapchain.extent);
        let image = &swapchain.images[index];
        // SAFETY: the slot's last commands are done.
        unsafe { device.reset_command_pool(slot.pool, vk::CommandPoolResetFlags::empty()) }?;
        let begin = vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
        // SAFETY: the command buffer was reset.
        unsafe { device.begin_command_buffer(cb, &begin) }?;
        // What was in the image before is of no interest.
        let (new, attachment) = (vk::ImageLayout::UNDEFINED, vk::ImageLayout::COLOR_ATTACHMENT_OPTIMAL);
        self.turn(cb, image.image, new, attachment);

        let clear = vk::ClearValue { color: vk::ClearColorValue { float32: [0.02, 0.02, 0.05, 1.0] } };
        let attachments = [vk::RenderingAttachmentInfo::default()
            .image_view(image.view)
            .image_layout(attachment)
            .load_op(vk::AttachmentLoadOp::CLEAR)
            .store_op(vk::AttachmentStoreOp::STORE)
            .clear_value(clear)];
        let area = vk::Rect2D { offset: vk::Offset2D::default(), extent };
        let rendering =
            vk::RenderingInfo::default().render_area(area).layer_count(1).color_attachments(&attachments);
        // SAFETY: recording; the view is of an image in the layout that is named.
        unsafe { device.cmd_begin_rendering(cb, &rendering) };
        // SAFETY: recording; the pipeline is of this device and this format.
        unsafe { device.cmd_bind_pipeline(cb, vk::PipelineBindPoint::GRAPHICS, self.pipeline.pipeline) };
        let viewport = vk::Viewport {
            width: extent.width as f32,
            height: extent.height as f32,
            max_depth: 1.0,
            ..Default::default()
        };
        // SAFETY: recording.
        unsafe { device.cmd_set_viewport(cb, 0, &[viewport]) };
        // SAFETY: recording.
        unsafe { device.cmd_set_scissor(cb, 0, &[area]) };
        let view = View::of(number, [extent.width, extent.height]);
        let (layout, stage) = (self.pipeline.layout, vk::ShaderStageFlags::VERTEX);
        // SAFETY: recording; the range is the layout's.
        unsafe { device.cmd_push_constants(cb, layout, stage, 0, bytemuck::bytes_of(&view)) };
        // SAFETY: recording; everything the shader reads is bound.
        unsafe { device.cmd_draw(cb, 3, 1, 0, 0) };
        // SAFETY: recording; rendering was begun above.
        unsafe { device.cmd_end_rendering(cb) };

        match &self.kept {
            None => self.turn(cb, image.image, attachment, vk::ImageLayout::PRESENT_SRC_KHR),
            Some(kept) => {
                let source = vk::ImageLayout::TRANSFER_SRC_OPTIMAL;
                self.turn(cb, image.image, attachment, source);
                kept.record(&self.gpu, cb, swapchain, index);
                self.turn(cb, image.image, source, vk::ImageLayout::PRESENT_SRC_KHR);
            }
        }
        // SAFETY: recording ends.
        unsafe { device.end_command_buffer(cb) }.context("vkEndCommandBuffer")
    }

    /// Records an image's way from one layout to another.
    fn turn(&self, cb: vk::CommandBuffer, image: vk::Image, from: vk::ImageLayout, to: vk::ImageLayout) {
        let use_of = |layout| match layout {
            vk::ImageLayout::TRANSFER_SRC_OPTIMAL => {
                (vk::PipelineStageFlags2::COPY, vk::AccessFlags2::TRANSFER_READ)
            }
            // The first use waits for the semaphore at this stage; the last one is before a semaphore too.
            vk::ImageLayout::UNDEFINED | vk::ImageLayout::PRESENT_SRC_KHR => {
                (vk::PipelineStageFlags2::COLOR_ATTACHMENT_OUTPUT, vk::AccessFlags2::NONE)
            }
            _ => (vk::PipelineStageFlags2::COLOR_ATTACHMENT_OUTPUT, vk::AccessFlags2::COLOR_ATTACHMENT_WRITE),
        };
        let ((from_stage, from_access), (to_stage, to_access)) = (use_of(from), use_of(to));
        let range = vk::ImageSubresourceRange::default()
            .aspect_mask(vk::ImageAspectFlags::COLOR)
            .level_count(1)
            .layer_count(1);
        let barrier = [vk::ImageMemoryBarrier2::default()
            .src_stage_mask(from_stage)
            .src_access_mask(from_access)
            .dst_stage_mask(to_stage)
            .dst_access_mask(to_access)
            .old_layout(from)
            .new_layout(to)
            .image(image)
            .subresource_range(range)];
        let dependency = vk::DependencyInfo::default().image_memory_barriers(&barrier);
        // SAFETY: recording; the image is in layout `from`, as the caller knows.
        unsafe { self.gpu.device.cmd_pipeline_barrier2(cb, &dependency) };
    }

    fn submit(&self, slot: &Slot, swapchain: &Swapchain, index: usize) -> Result<()> {
        let wait = [vk::SemaphoreSubmitInfo::default()
            .semaphore(slot.acquired)
            .stage_mask(vk::PipelineStageFlags2::COLOR_ATTACHMENT_OUTPUT)];
        let signal = [vk::SemaphoreSubmitInfo::default()
            .semaphore(swapchain.images[index].drawn)
            .stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)];
        let commands = [vk::CommandBufferSubmitInfo::default().command_buffer(slot.commands)];
        let submit = vk::SubmitInfo2::default()
            .wait_semaphore_infos(&wait)
            .signal_semaphore_infos(&signal)
            .command_buffer_infos(&commands);
        // Reset here and no earlier: a frame that was given up must leave the fence signalled.
        // SAFETY: the fence is of this device, and nothing signals it.
        unsafe { self.gpu.device.reset_fences(&[slot.done]) }?;
        // SAFETY: the command buffer is recorded, the fence unsignalled.
        unsafe { self.gpu.device.queue_submit2(self.gpu.queue, &[submit], slot.done) }
            .context("vkQueueSubmit2")
    }
}

impl Drop for Renderer {
    fn drop(&mut self) {
        // A lost device is idle too, so the error changes nothing.
        // SAFETY: the device is alive.
        let _ = unsafe { self.gpu.device.device_wait_idle() };
        if let Some(kept) = &self.kept {
            kept.destroy(&self.gpu);
        }
        for slot in &self.slots {
            slot.destroy(&self.gpu.device);
        }
        self.pipeline.destroy(&self.gpu.device);
        if let Some(swapchain) = &self.swapchain {
            swapchain.destroy(&self.gpu);
        }
    }
}

impl Slot {
    fn new(gpu: &Gpu) -> Result<Self> {
        let create = vk::CommandPoolCreateInfo::default().queue_family_index(gpu.family);
        // SAFETY: `create` is complete.
        let pool = unsafe { gpu.device.create_command_pool(&create, None) }?;
        let allocate = vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(1);
        // SAFETY: the pool is of this device.
        let commands = unsafe { gpu.device.allocate_command_buffers(&allocate) }?[0];
        // SAFETY: no extension structures are needed.
        let acquired = unsafe { gpu.device.create_semaphore(&vk::SemaphoreCreateInfo::default(), None) }?;
        let create = vk::FenceCreateInfo::default().flags(vk::FenceCreateFlags::SIGNALED);
        // SAFETY: `create` is complete.
        let done = unsafe { gpu.device.create_fence(&create, None) }?;
        Ok(Self { pool, commands, acquired, done })
    }

    fn destroy(&self, device: &ash::Device) {
        // SAFETY: the device is idle.
        unsafe { device.destroy_command_pool(self.pool, None) };
        // SAFETY: as above.
        unsafe { device.destroy_semaphore(self.acquired, None) };
        // SAFETY: as above.
        unsafe { device.destroy_fence(self.done, None) };
    }
}
