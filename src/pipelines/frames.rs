//! Finished frames of a job, whichever it is, made as they are asked for.

use super::job::Reporter;
use super::resume::WorkFolder;
use super::stretches::Stretches;
use super::timeline::Timeline;
use super::two_stage::{Shown, System, TwoStage};
use crate::Result;
use crate::media::{Fps, Frame};

/// Finished frames in order. After an error, which is the last item, there are none.
pub struct Frames<'a> {
    stages: TwoStage,
    system: Box<dyn System + 'a>,
    reporter: Reporter<'a>,
    size: [u32; 2],
    timeline: Timeline,
    stretches: Stretches,
    /// The stretch under way.
    stretch: Option<usize>,
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
        stretches: Stretches,
        total: u64,
    ) -> Self {
        let (stretch, next, failed) = (None, 0, false);
        Self { stages, system, reporter, size, timeline, stretches, stretch, total, next, failed }
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
        let index = self.stretches.at(output);
        let Some(stretch) = index.and_then(|index| self.stretches.get(index)) else {
            return self.system.unchanged(output);
        };
        if self.stretch != index {
            self.stages.begin(stretch);
            self.system.begin(stretch);
            self.stretch = index;
        }
        let mut pictures = Vec::new();
        for (inside, share) in stretch.shown(&self.timeline, output) {
            let picture = self.stages.picture(inside, self.system.as_mut(), &mut self.reporter)?;
            pictures.push(Shown { picture, inside, share });
        }
        self.system.finish(&pictures, output)
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
