//! The printed form of regions.

use std::fmt;

use crate::ir::Reg;
use crate::regions::Point;
use crate::regions::Regions;

fn list(f: &mut fmt::Formatter<'_>, name: &str, regs: &[Reg]) -> fmt::Result {
    write!(f, " {name} [")?;
    for (number, reg) in regs.iter().enumerate() {
        write!(f, "{}r{}", if number == 0 { "" } else { " " }, reg.0)?;
    }
    write!(f, "]")
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} b{}:{}", self.kind, self.block.0, self.next)?;
        list(f, "live", &self.live)?;
        list(f, "stored", &self.stored)?;
        list(f, "loaded", &self.loaded)
    }
}

impl fmt::Display for Regions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frame = &self.frame;
        writeln!(
            f,
            "frame {} align {}: variables @{}, exchange @{} x {}",
            frame.bytes, frame.align, frame.locals, frame.exchange, frame.exchange_words
        )?;
        for (reg, slot) in frame.slots.iter().enumerate() {
            if let Some(slot) = slot {
                writeln!(f, "  r{reg} @{slot}")?;
            }
        }
        for (number, point) in self.points.iter().enumerate() {
            writeln!(f, "p{number}: {point}")?;
        }
        Ok(())
    }
}
