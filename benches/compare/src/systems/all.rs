//! Which system is which: the one place that knows all of them.

use super::rival::Rival;
use super::{Failure, aeron, boost, bytes, copy, iceoryx, kernel, large, ours, textbook, values};
use crate::job::{Job, System};
use crate::payload::Payload;

/// What is to be done with a system between processes, whichever it is.
pub trait Errand {
    type Output;
    fn run<T: Payload, R: Rival<T>>(self) -> Result<Self::Output, Failure>;
}

/// Does it with the one that the job is about.
pub fn dispatch<E: Errand>(job: &Job, errand: E) -> Result<E::Output, Failure> {
    match job.system {
        System::Copy => errand.run::<u64, copy::TwoBuffers>(),
        System::Bytes | System::BytesOwned => errand.run::<u64, large::Copying>(),
        System::InPlace | System::InPlaceTouched | System::Slices => errand.run::<u64, large::ByteQueueInPlace>(),
        System::Serde => errand.run::<u64, large::TupleQueue>(),
        System::Iceoryx2 => errand.run::<u64, iceoryx::Copying>(),
        System::Iceoryx2InPlace => errand.run::<u64, iceoryx::InPlace>(),
        System::Cloudtoid => errand.run::<u64, bytes::Cloudtoid>(),
        System::Aeron => errand.run::<u64, aeron::Copying>(),
        System::AeronInPlace => errand.run::<u64, aeron::InPlace>(),
        System::Boost => errand.run::<u64, boost::MessageQueue>(),
        System::Ipmpsc => errand.run::<u64, bytes::Ipmpsc>(),
        System::IpcChannel => errand.run::<u64, bytes::IpcChannel>(),
        System::Pipe => errand.run::<u64, kernel::Pipe>(),
        System::Unix => errand.run::<u64, kernel::Unix>(),
        System::Mq => errand.run::<u64, kernel::Mq>(),
        _ => match job.bytes {
            8 => of_values::<u64, E>(job, errand),
            56 => of_values::<[u64; 7], E>(job, errand),
            64 => of_values::<[u64; 8], E>(job, errand),
            1024 => of_values::<[u64; 128], E>(job, errand),
            bytes => Err(Failure::new(format!("no value of {bytes} bytes"))),
        },
    }
}

fn of_values<T: Payload, E: Errand>(job: &Job, errand: E) -> Result<E::Output, Failure> {
    match job.system {
        System::Ringway | System::WithoutRecovery | System::Unbounded => errand.run::<T, ours::Values>(),
        System::Broadcast => errand.run::<T, ours::Casts>(),
        System::Textbook => errand.run::<T, textbook::Ring>(),
        System::Ringfire => errand.run::<T, values::Ringfire>(),
        System::Promisqs => errand.run::<T, values::Promisqs>(),
        other => Err(Failure::new(format!("{} is not measured between processes", other.name()))),
    }
}
