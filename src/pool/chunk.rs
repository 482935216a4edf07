//! Calls that go to a worker together, as one job: their arguments and their results, encoded one behind the other.

use super::error::{JobError, JobFailure};
use super::job::Report;
use super::ledger::{REPORT_HEAD, TASK_HEAD};
use crate::process::MANY_HEAD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Before the arguments: room for the head of the message, and the number of calls.
const CHUNK_HEAD: usize = TASK_HEAD + 4;

/// Appends the arguments of one call.
pub(super) type Encode<T> = fn(&T, &mut Vec<u8>) -> Result<(), JobError>;

/// One argument is encoded as a tuple of it would be.
pub(super) fn encode<T: Serialize>(item: &T, out: &mut Vec<u8>) -> Result<(), JobError> {
    let before = out.len();
    postcard::serialize_with_flavor(item, Append(out)).map_err(|error| {
        out.truncate(before);
        JobFailure::ArgumentsUnencodable { reason: error.to_string() }.into()
    })
}

/// What is encoded goes behind what is there.
struct Append<'v>(&'v mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Append<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Calls that go to a worker together.
pub(super) struct Chunk {
    pub(super) message: Vec<u8>,
    pub(super) calls: usize,
}

impl Chunk {
    /// The next one, if there are items; and why there is none after it, if one cannot be encoded.
    pub(super) fn of<T>(
        items: &mut impl Iterator<Item = T>,
        encode: Encode<T>,
        calls: usize,
        bytes: usize,
        (longest, carried): (usize, &mut Option<Vec<u8>>),
    ) -> (Option<Chunk>, Option<JobError>) {
        let mut chunk = Chunk { message: vec![0; CHUNK_HEAD], calls: 0 };
        let mut failed = None;
        if let Some(arguments) = carried.take() {
            chunk.message.extend_from_slice(&arguments);
            chunk.calls = 1;
        }
        while chunk.calls < calls && chunk.message.len() < bytes && failed.is_none() {
            let Some(item) = items.next() else { break };
            let before = chunk.message.len();
            match encode(&item, &mut chunk.message) {
                Ok(()) if chunk.calls > 0 && chunk.message.len() > longest => {
                    *carried = Some(chunk.message.split_off(before));
                    break;
                }
                Ok(()) => chunk.calls += 1,
                Err(error) => failed = Some(error),
            }
        }
        let count = u32::try_from(chunk.calls).unwrap_or(u32::MAX);
        chunk.message[TASK_HEAD..CHUNK_HEAD].copy_from_slice(&count.to_le_bytes());
        ((chunk.calls > 0).then_some(chunk), failed)
    }
}

/// What a chunk has returned, from which one result after the other is decoded.
#[derive(Default)]
pub(super) struct Results {
    report: Report,
    at: usize,
    calls: usize,
}

impl Results {
    /// And how long the calls took.
    pub(super) fn new(report: Report, calls: usize) -> (Results, Duration) {
        let took = report.message.get(REPORT_HEAD..).and_then(|rest| rest.first_chunk());
        let took = took.map_or(0, |bytes| u64::from_le_bytes(*bytes));
        (Results { report, at: REPORT_HEAD + MANY_HEAD, calls }, Duration::from_nanos(took))
    }

    /// Bytes of the report.
    pub(super) fn len(&self) -> usize {
        self.report.message.len()
    }

    pub(super) fn next<R: DeserializeOwned>(&mut self) -> Option<Result<R, JobError>> {
        if self.calls == 0 {
            return None;
        }
        let bytes = self.report.message.get(self.at..).unwrap_or_default();
        match postcard::take_from_bytes(bytes) {
            Ok((result, rest)) => {
                self.at += bytes.len() - rest.len();
                self.calls -= 1;
                Some(Ok(result))
            }
            Err(error) => {
                self.calls = 0;
                Some(Err(JobError::new(
                    JobFailure::ResultUndecodable { reason: error.to_string() },
                    self.report.attempts,
                )))
            }
        }
    }
}
