//! The stretches of a job that are made anew: frames of one shot, one behind the other, with the face in them. Each has its own
//! keyframes, anchored in its own first frame, and windows, so that nothing is carried across a cut.

use std::ops::{Range, RangeInclusive};

use super::segments::{Parity, Plan};
use super::timeline::Timeline;
use crate::media::Fps;
use crate::{Problem, Result};

#[derive(Debug, Clone, PartialEq)]
pub struct Stretch {
    /// The output frames that show it.
    pub outputs: Range<u64>,
    /// Its frames at 25 a second, counted over the whole job. At a cut, neighbours may share one, which each makes for itself.
    pub inside: Range<usize>,
    /// The source frames that it shows.
    pub sources: RangeInclusive<u64>,
    /// How its inside frames are made, counted from 0.
    pub plan: Plan,
    /// Whether output frames above 25 a second show two inside frames each.
    pub blends: bool,
    /// Keyframe slots and windows of the stretches before it: its own are counted on from there.
    pub slots_before: usize,
    pub windows_before: usize,
}

/// Output frames one behind the other that show one shot, and what they show.
struct Run {
    outputs: Range<u64>,
    inside: Range<usize>,
    sources: RangeInclusive<u64>,
}

impl Run {
    fn of(output: u64, inside: usize, source: u64) -> Self {
        Self { outputs: output..output + 1, inside: inside..inside + 1, sources: source..=source }
    }

    fn extend(&mut self, output: u64, inside: usize, source: u64) {
        (self.outputs.end, self.inside.end) = (output + 1, inside + 1);
        self.sources = source.min(*self.sources.start())..=source.max(*self.sources.end());
    }
}

/// In order; no two show one output frame.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Stretches(Vec<Stretch>);

impl Stretches {
    /// One of the output frames `outputs`, made by `plan` from any of the source's frames; each shows the nearest inside frame.
    pub fn whole(plan: Plan, outputs: Range<u64>) -> Self {
        let (inside, sources) = (0..plan.output_frames(), 0..=u64::MAX);
        let blends = false;
        Self(vec![Stretch { outputs, inside, sources, plan, blends, slots_before: 0, windows_before: 0 }])
    }

    /// Those of `outputs` output frames that show source frames for which `shot_of` has a shot; `inside` frames in all.
    pub fn new(
        timeline: &Timeline,
        outputs: u64,
        inside: usize,
        shot_of: impl Fn(u64) -> Option<usize>,
    ) -> Result<Self> {
        let mut runs: Vec<Run> = Vec::new();
        // The shot of the run that the last output frame belongs to.
        let mut open = None;
        for output in 0..outputs {
            let moment = timeline.moment(output);
            let shown = moment.inside.zip(shot_of(moment.source));
            let shot = shown.map(|(_, shot)| shot);
            match (shown, runs.last_mut()) {
                (Some((at, _)), Some(run)) if shot == open => run.extend(output, at, moment.source),
                (Some((at, _)), _) => runs.push(Run::of(output, at, moment.source)),
                (None, _) => {}
            }
            open = shot;
        }
        if let Some(last) = runs.last_mut() {
            // The frames that nothing shows any more count where the sound does.
            let end = timeline.part().map_or(outputs, |part| part.end);
            last.inside.end = if last.outputs.end == end { inside.max(last.inside.end) } else { last.inside.end };
        }
        let mut stretches = Self::default();
        runs.into_iter().try_for_each(|run| stretches.push(run))?;
        Ok(stretches)
    }

    fn push(&mut self, Run { outputs, inside, sources }: Run) -> Result<()> {
        let plan = Plan::keysync(inside.len(), Parity::Corrected)?;
        let [slots_before, windows_before] = self.0.last().map_or([0; 2], |last| {
            let slots = last.plan.batch_count() * last.plan.rule().window;
            [last.slots_before + slots, last.windows_before + last.plan.window_count()]
        });
        self.0.push(Stretch { outputs, inside, sources, plan, blends: true, slots_before, windows_before });
        Ok(())
    }

    pub fn iter(&self) -> impl Iterator<Item = &Stretch> {
        self.0.iter()
    }

    /// Errors: there is none.
    pub fn first(&self) -> Result<&Stretch> {
        self.0.first().ok_or_else(|| Problem::new("job", "a frame to make", "none").input())
    }

    pub fn get(&self, index: usize) -> Option<&Stretch> {
        self.0.get(index)
    }

    /// The one that an output frame belongs to.
    pub fn at(&self, output: u64) -> Option<usize> {
        let index = self.0.partition_point(|stretch| stretch.outputs.end <= output);
        self.0.get(index).filter(|stretch| stretch.outputs.contains(&output)).map(|_| index)
    }

    pub fn chunk_count(&self) -> usize {
        self.0.iter().map(|stretch| stretch.plan.chunk_count()).sum()
    }

    pub fn batch_count(&self) -> usize {
        self.0.iter().map(|stretch| stretch.plan.batch_count()).sum()
    }

    pub fn window_count(&self) -> usize {
        self.0.iter().map(|stretch| stretch.plan.window_count()).sum()
    }

    /// Frames at 25 a second that are made.
    pub fn inside_frames(&self) -> usize {
        self.0.iter().map(|stretch| stretch.plan.output_frames()).sum()
    }
}

impl Stretch {
    /// The source frame that an inside frame, counted over the job, is made from: the timeline's, within the stretch.
    pub fn source_of(&self, timeline: &Timeline, inside: usize) -> u64 {
        let inside = self.inside.start + self.plan.source(inside.saturating_sub(self.inside.start));
        timeline.source_of_inside(inside).clamp(*self.sources.start(), *self.sources.end())
    }

    /// The inside frames that an output frame shows, counted over the job, with their shares: the nearest one, and above 25 frames
    /// a second those on either side.
    pub fn shown(&self, timeline: &Timeline, output: u64) -> Vec<(usize, f32)> {
        let within = |inside: usize| inside.clamp(self.inside.start, self.inside.start + self.plan.output_frames() - 1);
        let moment = timeline.moment(output);
        let nearest = vec![(within(moment.inside.unwrap_or(self.inside.start)), 1.0)];
        if !self.blends || timeline.fps().as_f64() <= Fps::INSIDE.as_f64() {
            return nearest;
        }
        let place = moment.place.max(0.0);
        let (first, share) = (place as usize, place.fract() as f32);
        match (within(first), within(first + 1)) {
            (a, b) if a != b && share > 0.0 => vec![(a, 1.0 - share), (b, share)],
            (a, _) => vec![(a, 1.0)],
        }
    }
}
