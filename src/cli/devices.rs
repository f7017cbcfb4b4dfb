use super::say;
use clap::Args;
use viseme::Result;
use viseme::gpu::{Capabilities, Gpu};

#[derive(Args)]
pub struct Options {
    /// One JSON array instead of text
    #[arg(long)]
    json: bool,
}

pub fn run(options: &Options) -> Result<()> {
    let devices = Gpu::list()?;
    if options.json {
        say(serde_json::to_string_pretty(&devices).unwrap_or_default())?;
        return Ok(());
    }
    if devices.is_empty() {
        say("no Vulkan, Metal or DX12 device; on Debian without a GPU: apt install mesa-vulkan-drivers")?;
    }
    for (number, device) in devices.iter().enumerate() {
        print(number, device)?;
    }
    Ok(())
}

fn print(number: usize, device: &Capabilities) -> Result<()> {
    let Capabilities { name, backend, driver, kind, .. } = device;
    say(format_args!("{number}: {name} ({kind}, {backend}, {driver})"))?;
    let yes = |claim: bool| if claim { "yes" } else { "no" };
    let mib = |bytes: u64| bytes >> 20;
    say(format_args!(
        "   f16 in shaders {}, timestamps {}, immediates {}",
        yes(device.shader_f16),
        yes(device.timestamps),
        yes(device.immediates)
    ))?;
    match device.subgroup_size {
        Some(size) => say(format_args!("   subgroups of {size}"))?,
        None => say("   no subgroups of one size")?,
    }
    say(format_args!(
        "   one binding {} MiB, one buffer {} MiB, workgroup memory {} KiB, {} invocations",
        mib(device.max_binding_bytes),
        mib(device.max_buffer_bytes),
        device.max_workgroup_bytes >> 10,
        device.max_invocations
    ))?;
    if !device.cooperative_matrices.is_empty() {
        say(format_args!("   cooperative matrices {}", device.cooperative_matrices.join(", ")))?;
    }
    Ok(())
}
