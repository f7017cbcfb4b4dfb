//! Golden files: reading them, the weights that they ask for, comparing results with them.

pub mod formula;
pub mod golden;
