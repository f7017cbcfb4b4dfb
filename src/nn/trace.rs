use crate::tensor::Tensor;

/// Collects named intermediate results for `viseme verify`; off, it costs nothing.
#[derive(Default)]
pub struct Trace {
    notes: Option<Vec<(String, Tensor)>>,
    prefix: String,
}

impl Trace {
    pub fn off() -> Self {
        Self::default()
    }

    pub fn on() -> Self {
        Self { notes: Some(Vec::new()), prefix: String::new() }
    }

    /// Keeps `tensor` as `name`, below the names that enclose it.
    pub fn note(&mut self, name: &str, tensor: &Tensor) {
        if let Some(notes) = &mut self.notes {
            let full = if self.prefix.is_empty() { name.to_string() } else { format!("{}.{name}", self.prefix) };
            notes.push((full, tensor.clone()));
        }
    }

    /// Runs `inner` with `name` in front of its notes.
    pub fn within<T>(&mut self, name: &str, inner: impl FnOnce(&mut Self) -> T) -> T {
        if self.notes.is_none() {
            return inner(self);
        }
        let outer = self.prefix.clone();
        self.prefix = if outer.is_empty() { name.to_string() } else { format!("{outer}.{name}") };
        let result = inner(self);
        self.prefix = outer;
        result
    }

    /// What was noted, in order.
    pub fn into_notes(self) -> Vec<(String, Tensor)> {
        self.notes.unwrap_or_default()
    }
}
