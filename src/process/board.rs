//! A board: words that a process and its children see at once.

use crate::handover::{self, Item};
use crate::sys::look;
pub(crate) use crate::sys::words::Glimpse;
use crate::sys::words::Words;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::io;
use std::sync::atomic::AtomicU64;

/// Goes to a child among its arguments, and nowhere else.
pub(crate) struct Board(Words);

impl Board {
    /// All zero.
    pub(crate) fn create(words: usize) -> io::Result<Board> {
        Words::create(words).map(Board)
    }

    /// Whether this process is a fork of the one that has it.
    pub(crate) fn is_forked(&self) -> bool {
        self.0.is_forked()
    }

    /// Of all processes that may be looked at, the descriptors that may mean boards.
    pub(crate) fn all() -> Vec<(u32, u32)> {
        look::anonymous_descriptors()
    }

    /// Empty where there are not so many, or in a fork.
    pub(crate) fn words(&self, at: usize, count: usize) -> &[AtomicU64] {
        self.0.run(at, count)
    }

    /// None: there are not so many, or this process is a fork.
    pub(crate) fn word(&self, at: usize) -> Option<&AtomicU64> {
        self.0.get(at)
    }
}

#[cfg(test)]
impl Board {
    pub(crate) fn descriptor_number(&self) -> u32 {
        self.0.descriptor_number()
    }
}

impl Serialize for Board {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let descriptor = self.0.descriptor().map_err(S::Error::custom)?;
        let number = handover::hand(Item::Memory(descriptor));
        number.ok_or_else(|| S::Error::custom("a board goes to a child only"))?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Board {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Board, D::Error> {
        let number = u32::deserialize(deserializer)?;
        let descriptor = handover::take(number).ok_or_else(|| D::Error::custom("no board has come along"))?;
        Words::open(descriptor).map(Board).map_err(D::Error::custom)
    }
}
