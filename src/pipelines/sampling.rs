//! How the diffusion loops run: as published, or approximated in what a caller asks for. A loop is laid out before it starts, so
//! that progress, estimates and the evaluations themselves agree.

use crate::diffusion::schedule::ays;
use crate::diffusion::{Branch, Churn, Guidance, Interval, Sampler};
use crate::{Problem, Result};

/// Windows that are interpolated in one evaluation, as published.
pub(super) const WINDOWS_PER_CALL: usize = 2;

/// What the first level of the published UNet takes of the work of all at 64x64 latents: 6.3 of 18.4 TFLOP.
const FIRST_LEVEL_SHARE: f64 = 0.34;

/// How the diffusion loops run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Evaluations of the network in each loop.
    pub steps: usize,
    pub seed: u64,
    /// Guidance branches and windows one after another: slower, in a sixth of the memory, with the same result. It happens by
    /// itself, and is said, once memory does not suffice for more.
    pub low_memory: bool,
    /// One that evaluates the network once a step and wants no fresh noise.
    pub sampler: Sampler,
    /// Noise levels at which guidance is applied.
    pub guided: Interval,
    /// The UNet's levels below the first run in every so many steps, at least 1, and in the first and the last; in between what
    /// they made serves again. A branch of the guidance that was left out since then makes a whole step, too.
    pub deep_every: usize,
}

impl Default for Sampling {
    /// As published.
    fn default() -> Self {
        Self {
            steps: 11,
            seed: 23,
            low_memory: false,
            sampler: Sampler::default(),
            guided: Interval::ALL,
            deep_every: 1,
        }
    }
}

/// A way to save evaluations of the network, or parts of them, for a result that is near the published one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approximation {
    /// Guidance at the middle noise levels only (Kynkäänniemi et al. 2024): 6 of 11 evaluations have all branches.
    Guidance,
    /// The UNet's deep levels in every second step (DeepCache; Ma et al. 2023).
    Reuse,
    /// DPM-Solver++ (2M; Lu et al. 2022) in 6 steps in place of Euler's 11.
    Steps,
}

impl Approximation {
    pub const ALL: [Self; 3] = [Self::Guidance, Self::Reuse, Self::Steps];
    /// Steps of [`Approximation::Steps`].
    pub const STEPS: usize = 6;
}

impl Sampling {
    /// The same with `what` approximated.
    pub fn approximate(self, what: Approximation) -> Self {
        match what {
            Approximation::Guidance => Self { guided: Interval::MIDDLE, ..self },
            Approximation::Reuse => Self { deep_every: 2, ..self },
            Approximation::Steps => Self { sampler: Sampler::DpmPlusPlus2M, steps: Approximation::STEPS, ..self },
        }
    }

    /// Clips in one evaluation of a network, `branches` of the guidance each counted.
    pub fn clips_at_once(&self, branches: usize) -> usize {
        if self.low_memory { 1 } else { WINDOWS_PER_CALL * branches }
    }

    /// Clips whose deep features are kept at once, `branches` of the guidance each counted.
    pub fn clips_kept(&self, branches: usize) -> usize {
        match (self.deep_every, self.low_memory) {
            (0 | 1, _) => 0,
            (_, true) => branches,
            (_, false) => WINDOWS_PER_CALL * branches,
        }
    }

    /// The loop of one clip under `guidance`. Errors: no steps, deep levels that never run, a sampler that evaluates the network
    /// more than once a step or wants noise.
    pub fn course(&self, guidance: Guidance) -> Result<Course> {
        let is_fit = match self.sampler {
            Sampler::Euler(churn) => churn.amount == Churn::default().amount,
            Sampler::DpmPlusPlus2M => true,
            Sampler::Heun(_) => false,
        };
        if !is_fit {
            let found = format!("{:?}", self.sampler);
            return Err(Problem::new("sampler", "one evaluation a step, without churn", found).usage());
        }
        if self.deep_every == 0 {
            return Err(Problem::new("deep_every", "1 or more", "0").usage());
        }
        let sigmas = ays(self.steps)?;
        let mut steps: Vec<Step> = Vec::with_capacity(self.steps);
        // The last step with all levels: how many steps ago, and in which branches.
        let (mut ago, mut kept): (usize, &[Branch]) = (0, &[]);
        for (index, &sigma) in sigmas[..self.steps].iter().enumerate() {
            let guidance = guidance.within(self.guided, sigma);
            let branches = guidance.branches();
            let is_inner = index > 0 && index + 1 < self.steps;
            let is_reuse = is_inner && ago + 1 < self.deep_every && branches.iter().all(|branch| kept.contains(branch));
            if is_reuse {
                ago += 1;
                if let Some(Step { levels: levels @ Levels::All, .. }) = steps.last_mut() {
                    *levels = Levels::AllKept;
                }
            } else {
                (ago, kept) = (0, branches);
            }
            steps.push(Step { guidance, levels: if is_reuse { Levels::First } else { Levels::All } });
        }
        Ok(Course { guidance, sigmas, steps })
    }
}

/// Which levels of the UNet run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Levels {
    All,
    /// All, and the deep ones' features stay for the steps to come.
    AllKept,
    /// The first alone, on the features that stayed.
    First,
}

/// One evaluation of the network in each branch of the guidance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    pub guidance: Guidance,
    pub levels: Levels,
}

impl Step {
    /// Its work for one clip, in evaluations of a whole UNet.
    pub fn work(&self) -> f64 {
        let share = if self.levels == Levels::First { FIRST_LEVEL_SHARE } else { 1.0 };
        share * self.guidance.branches().len() as f64
    }
}

/// The loop of a stage, laid out.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    /// Where it is applied.
    pub guidance: Guidance,
    /// The noise level of each step, and 0.
    pub sigmas: Vec<f64>,
    pub steps: Vec<Step>,
}

impl Course {
    /// Evaluations for one clip, whole or not.
    pub fn evaluations(&self) -> usize {
        self.steps.iter().map(|step| step.guidance.branches().len()).sum()
    }

    /// Work for one clip, in evaluations of a whole UNet.
    pub fn work(&self) -> f64 {
        self.steps.iter().map(Step::work).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A letter a step: small where the first level runs alone, `c` for the conditional branch alone, `g` for all.
    fn spelled(course: &Course) -> String {
        let letter = |step: &Step| match (step.guidance == Guidance::None, step.levels == Levels::First) {
            (true, true) => 'c',
            (true, false) => 'C',
            (false, true) => 'g',
            (false, false) => 'G',
        };
        course.steps.iter().map(letter).collect()
    }

    fn course(what: &[Approximation]) -> Course {
        let sampling = what.iter().fold(Sampling::default(), |sampling, &what| sampling.approximate(what));
        sampling.course(Guidance::default()).unwrap()
    }

    #[test]
    fn loops_are_laid_out() {
        use Approximation::*;
        for (what, letters, evaluations) in [
            (&[][..], "GGGGGGGGGGG", 33),
            (&[Guidance], "CCGGGGGGCCC", 23),
            (&[Reuse], "GgGgGgGgGgG", 33),
            (&[Steps], "GGGGGG", 18),
            (&[Guidance, Reuse], "CcGgGgGgCcC", 23),
            (&[Guidance, Steps], "CGGGCC", 12),
            (&[Reuse, Steps], "GgGgGG", 18),
            // The branches that the first step left out have nothing to reuse in the second.
            (&[Guidance, Reuse, Steps], "CGgGcC", 12),
        ] {
            let course = course(what);
            assert_eq!((spelled(&course).as_str(), course.evaluations()), (letters, evaluations), "{what:?}");
            let spared: usize = letters.matches('g').count() * 3 + letters.matches('c').count();
            let work = evaluations as f64 - spared as f64 * (1.0 - FIRST_LEVEL_SHARE);
            assert!((course.work() - work).abs() < 1e-9, "{what:?}: {}", course.work());
            // What is kept is used, and only then.
            for pair in course.steps.windows(2) {
                assert_eq!(
                    pair[0].levels == Levels::AllKept,
                    pair[0].levels != Levels::First && pair[1].levels == Levels::First
                );
            }
        }
    }

    #[test]
    fn periods_and_short_loops() {
        let of = |steps: usize, deep_every: usize| {
            let sampling = Sampling { steps, deep_every, ..Sampling::default() };
            spelled(&sampling.course(crate::diffusion::Guidance::default()).unwrap())
        };
        assert_eq!(of(8, 3), "GggGggGG");
        assert_eq!([of(1, 2), of(2, 2), of(3, 2)], ["G", "GG", "GgG"]);
        assert_eq!(of(5, 100), "GgggG");
    }

    #[test]
    fn what_no_loop_can_be_made_of_is_refused() {
        let churn = Churn { amount: 1.0, ..Churn::default() };
        for sampling in [
            Sampling { steps: 0, ..Sampling::default() },
            Sampling { deep_every: 0, ..Sampling::default() },
            Sampling { sampler: Sampler::Heun(Churn::default()), ..Sampling::default() },
            Sampling { sampler: Sampler::Euler(churn), ..Sampling::default() },
        ] {
            assert_eq!(sampling.course(Guidance::default()).unwrap_err().exit_code(), 2, "{sampling:?}");
        }
    }
}
