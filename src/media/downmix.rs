//! Which channels of a sound are heard. Speech is one voice: a film has it in its centre, a recording with several microphones
//! in a few of many channels, and a cable with swapped poles takes it out of the mean of two.

/// Channels beside each other in one stream, and which loudspeaker each is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub channels: usize,
    /// A bit per loudspeaker in the order of the channels, as WAVEFORMATEXTENSIBLE has them; 0 where the file does not say.
    pub speakers: u32,
}

impl Layout {
    const FRONT_LEFT: u32 = 1;
    const FRONT_RIGHT: u32 = 2;
    const FRONT_CENTRE: u32 = 4;

    fn channel(self, speaker: u32) -> Option<usize> {
        let before = (self.speakers & (speaker - 1)).count_ones() as usize;
        (self.speakers & speaker != 0 && before < self.channels).then_some(before)
    }
}

/// The power of each channel, and how every neighbour goes with it, over a stretch of sound.
#[derive(Debug, Clone)]
pub(super) struct Levels {
    channels: usize,
    squares: Vec<f64>,
    /// Sum of the products with channel 0.
    products: Vec<f64>,
}

impl Levels {
    pub fn new(channels: usize) -> Self {
        Self { channels, squares: vec![0.0; channels], products: vec![0.0; channels] }
    }

    /// `samples` with all channels of a moment together.
    pub fn add(&mut self, samples: &[f32]) {
        for moment in samples.chunks_exact(self.channels) {
            // What is not finite is refused by its number later.
            let first = f64::from(moment[0]);
            for (channel, &sample) in moment.iter().enumerate().filter(|(_, sample)| sample.is_finite()) {
                self.squares[channel] += f64::from(sample) * f64::from(sample);
                self.products[channel] += if first.is_finite() { first * f64::from(sample) } else { 0.0 };
            }
        }
    }

    /// Whether a channel is at most so many times weaker in power than the loudest one.
    fn carries(&self, channel: usize, times: f64) -> bool {
        let loudest = self.squares.iter().copied().fold(0.0, f64::max);
        self.squares[channel] * times >= loudest
    }

    /// Correlation of channel 0 and `other`; 0 where one of them is silent.
    fn correlation(&self, other: usize) -> f64 {
        let both = (self.squares[0] * self.squares[other]).sqrt();
        if both > 0.0 { self.products[other] / both } else { 0.0 }
    }
}

/// The mean of some channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Downmix {
    channels: usize,
    taken: Vec<usize>,
}

impl Downmix {
    /// Weaker than the loudest by more (30 dB), a centre or a front pair has no part in what is said.
    const PRESENT: f64 = 1e3;
    /// Weaker than the loudest by more (20 dB), one of many channels only adds noise.
    const SPOKEN_INTO: f64 = 1e2;
    /// Below this correlation two channels are one sound with opposite phases, of which little is left in the mean.
    const OPPOSITE: f64 = -0.5;

    pub fn mean(channels: usize) -> Self {
        Self { channels, taken: (0..channels).collect() }
    }

    pub fn one(channels: usize, channel: usize) -> Self {
        Self { channels, taken: vec![channel] }
    }

    /// The centre where there is one with sound in it; else the mean of the front pair, or of the only two channels, or the
    /// louder one where their phases are opposite; else the mean of the channels with sound in them.
    pub fn choose(layout: Layout, levels: &Levels) -> Self {
        let channels = layout.channels;
        if channels == 1 {
            return Self::mean(1);
        }
        if let Some(centre) = layout.channel(Layout::FRONT_CENTRE).filter(|&c| levels.carries(c, Self::PRESENT)) {
            return Self::one(channels, centre);
        }
        let front = (layout.channel(Layout::FRONT_LEFT), layout.channel(Layout::FRONT_RIGHT));
        let is_pair = channels == 2
            || (front == (Some(0), Some(1)) && (levels.carries(0, Self::PRESENT) || levels.carries(1, Self::PRESENT)));
        if is_pair {
            if levels.correlation(1) < Self::OPPOSITE {
                return Self::one(channels, usize::from(levels.squares[1] > levels.squares[0]));
            }
            return Self { channels, taken: vec![0, 1] };
        }
        Self { channels, taken: (0..channels).filter(|&c| levels.carries(c, Self::SPOKEN_INTO)).collect() }
    }

    /// `samples` with all channels of a moment together, to one channel.
    pub fn mix(&self, samples: Vec<f32>) -> Vec<f32> {
        if self.channels == 1 {
            return samples;
        }
        let mean = |moment: &[f32]| self.taken.iter().map(|&c| moment[c]).sum::<f32>() / self.taken.len() as f32;
        samples.chunks_exact(self.channels).map(mean).collect()
    }
}
