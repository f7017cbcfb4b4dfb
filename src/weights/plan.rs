//! Loading in two passes: the first only notes what is asked for, so that everything wrong is known at once and before
//! any work starts.

use super::{Dtype, Source, Store, Weights, lies_at};
use crate::{Error, Problem, Result};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Every tensor that a load asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// By name, each once.
    pub requests: Vec<Request>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub name: String,
    pub shape: Vec<usize>,
    /// As stored in the file.
    pub dtype: Dtype,
}

impl Plan {
    /// Parameters in all.
    pub fn elements(&self) -> u64 {
        self.requests.iter().map(Request::elements).sum()
    }

    /// Bytes in the file.
    pub fn stored_bytes(&self) -> u64 {
        self.requests.iter().map(|request| request.elements() * request.dtype.bitsize() as u64 / 8).sum()
    }
}

impl Request {
    pub fn elements(&self) -> u64 {
        self.shape.iter().map(|&dim| dim as u64).product()
    }
}

/// A plan in the making: the first verdict on each name, and all problems in the order of asking.
#[derive(Default)]
pub(super) struct Draft {
    found: BTreeMap<String, Option<Request>>,
    problems: Vec<Problem>,
}

impl Weights {
    /// What `load` gives, after a first run of it that touches no values: every missing, misshapen or mistyped tensor is
    /// listed in one error before the second, real run. `load` must ask for the same tensors each time, and must make
    /// placeholders of planned ones.
    ///
    /// Tensors at or below this place that nothing asked for are one warning line, or an error when `strict`, unless
    /// they lie at or below a name in `ignore` (relative to this place; `*.NAME` stands for any NAME at the end).
    pub fn checked<T>(&self, ignore: &[&str], strict: bool, load: impl Fn(&Weights) -> Result<T>) -> Result<T> {
        if self.store.plan.is_some() {
            return load(self);
        }
        let draft = self.draft(&load)?;
        let unused: Vec<String> = self
            .names()
            .into_iter()
            .filter(|name| !draft.found.contains_key(name) && !ignore.iter().any(|i| self.ignores(i, name)))
            .collect();
        let mut problems = draft.problems;
        if strict {
            problems.extend(unused.iter().map(|name| self.unused(name)));
        } else if !unused.is_empty() && problems.is_empty() {
            let (some, more) = (unused.len().min(3), if unused.len() > 3 { ", ..." } else { "" });
            let (origin, names) = (self.origin(), unused[..some].join(", "));
            tracing::warn!("{origin}: {} tensors are not used by this network: {names}{more}", unused.len());
        }
        if !problems.is_empty() {
            return Err(Error::Weights(problems));
        }
        let loaded = load(self)?;
        self.store.source.unchanged()?;
        Ok(loaded)
    }

    /// What `load` asks for; the error lists everything that is missing, misshapen or mistyped.
    pub fn plan<T>(&self, load: impl Fn(&Weights) -> Result<T>) -> Result<Plan> {
        let draft = self.draft(&load)?;
        match draft.problems.is_empty() {
            true => Ok(Plan { requests: draft.found.into_values().flatten().collect() }),
            false => Err(Error::Weights(draft.problems)),
        }
    }

    /// The same place, of which a load only notes what it asks for: see [`Weights::problems`].
    pub(crate) fn planned(&self) -> Weights {
        let store = Store { source: self.store.source.clone(), plan: Some(Arc::default()) };
        Weights { store: Arc::new(store), prefix: self.prefix.clone() }
    }

    /// What is missing, misshapen or mistyped of what was asked for since [`Weights::planned`].
    pub(crate) fn problems(&self) -> Vec<Problem> {
        self.take_draft().problems
    }

    fn take_draft(&self) -> Draft {
        let take = |plan: &Arc<Mutex<Draft>>| std::mem::take(&mut *plan.lock().unwrap_or_else(PoisonError::into_inner));
        self.store.plan.as_ref().map(take).unwrap_or_default()
    }

    fn draft<T>(&self, load: &impl Fn(&Weights) -> Result<T>) -> Result<Draft> {
        let planned = self.planned();
        let outcome = load(&planned);
        let mut draft = planned.take_draft();
        match outcome {
            Ok(_) => {}
            Err(Error::Weights(problems)) => draft.problems.extend(problems),
            // With tensors missing, any other failure of the planned run is their consequence.
            Err(error) if draft.problems.is_empty() => return Err(error),
            Err(_) => {}
        }
        Ok(draft)
    }

    /// Notes the request when a load is planned, and says whether it is.
    pub(super) fn request(&self, name: &str, shape: &[usize]) -> bool {
        let Some(plan) = &self.store.plan else { return false };
        let mut draft = plan.lock().unwrap_or_else(PoisonError::into_inner);
        let request = match check(self.store.source.as_ref(), name, shape) {
            Ok(dtype) => Some(Request { name: name.to_owned(), shape: shape.to_vec(), dtype }),
            Err(problem) => {
                if !draft.problems.contains(&problem) {
                    draft.problems.push(problem);
                }
                None
            }
        };
        draft.found.entry(name.to_owned()).or_insert(request);
        true
    }

    fn ignores(&self, pattern: &str, name: &str) -> bool {
        match pattern.strip_prefix("*.") {
            Some(end) => name.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')),
            None => lies_at(name, &self.name(pattern.trim_end_matches('.'))),
        }
    }

    fn unused(&self, name: &str) -> Problem {
        let found = self.store.source.entry(name).map_or_else(String::new, |(_, shape)| format!("{shape:?}"));
        Problem::new(name, "only tensors that this network uses", found).remedy("leave out --strict to ignore it")
    }
}

/// The stored type of `name`, which must be there in `shape` as a float of at most 32 bits.
pub(super) fn check(source: &dyn Source, name: &str, shape: &[usize]) -> Result<Dtype, Problem> {
    let Some((dtype, found)) = source.entry(name) else {
        let missing = Problem::new(name, format!("{shape:?}"), format!("no such tensor in {}", source.origin()));
        let longer = source.names().into_iter().find(|other| lies_below_something(other, name));
        return Err(match longer {
            Some(longer) => missing.remedy(format!("the file has {longer}")),
            None => missing,
        });
    };
    if found != shape {
        return Err(Problem::new(name, format!("{shape:?}"), format!("{found:?} in {}", source.origin())));
    }
    match dtype {
        Dtype::F32 | Dtype::F16 | Dtype::BF16 => Ok(dtype),
        other => Err(Problem::new(name, "f32, f16 or bf16", format!("{other:?} in {}", source.origin()))),
    }
}

/// Whether `long` is `short` with something in front, such as `module.NAME`.
fn lies_below_something(long: &str, short: &str) -> bool {
    long.strip_suffix(short).is_some_and(|front| front.ends_with('.'))
}
