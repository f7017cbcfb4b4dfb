//! Finished frames of a job, whichever it is, made as they are asked for.

use super::job::Reporter;
use super::resume::WorkFolder;
use super::timeline::Timeline;
use super::two_stage::{System, TwoStage};
use crate::Result;
use crate::media::{Fps, Frame};

/// Finished frames in order. After an error, which is the last item, there are none.
pub struct Frames<'a> {
    stages: TwoStage,
    system: Box<dyn System + 'a>,
    reporter: Reporter<'a>,
    size: [u32; 2],
    timeline: Timeline,
    total: u64,
    next: u64,
    failed: bool,
}

impl<'a> Frames<'a> {
    pub(super) fn new(
        stages: TwoStage,
        system: Box<dyn System + 'a>,
        reporter: Reporter<'a>,
        size: [u32; 2],
        timeline: Timeline,
        total: u64,
    ) -> Self {
        Self { stages, system, reporter, size, timeline, total, next: 0, failed: false }
    }

    /// Width and height of the frames.
    pub fn size(&self) -> [u32; 2] {
        self.size
    }

    pub fn fps(&self) -> Fps {
        self.timeline.fps()
    }

    /// How many there are in all.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Ends the job: its work folder goes.
    pub fn finish(self) -> Result<()> {
        self.stages.work.map_or(Ok(()), WorkFolder::remove)
    }

    fn make(&mut self, output: u64) -> Result<Frame> {
        self.reporter.cancel.check()?;
        let Some(inside) = self.timeline.moment(output).inside else { return self.system.unchanged(output) };
        let inside = inside.min(self.stages.plan.output_frames() - 1);
        let picture = self.stages.picture(inside, self.system.as_mut(), &mut self.reporter)?;
        self.system.finish(&picture, inside, output)
    }
}

impl Iterator for Frames<'_> {
    type Item = Result<Frame>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.next >= self.total {
            return None;
        }
        let frame = self.make(self.next);
        self.failed = frame.is_err();
        self.next += 1;
        Some(frame)
    }
}
