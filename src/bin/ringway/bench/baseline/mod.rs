//! What ringway is compared with: the limits of the machine, and what the
//! kernel offers. Each file knows one of them and the drivers' traits, never
//! ringway.

pub mod copy;
pub mod kernel;
pub mod raw;
