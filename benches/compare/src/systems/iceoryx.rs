//! iceoryx2, publish and subscribe of byte slices, lossless: copied in and out, or written and read in place.
//!
//! Its files lie in the private directory, but for the shared memory, which goes with
//! its ports.

#![allow(unsafe_code)]

use super::buffers::{Incoming, Outgoing};
use super::rival::{Rival, Way};
use super::{Failure, Put, Take};
use crate::control::Control;
use crate::job::Job;
use crate::payload::fill;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::port::update_connections::UpdateConnections;
use iceoryx2::prelude::{
    BackpressureStrategy, Config, FileName, LogLevel, NodeBuilder, PortFactory as _, SemanticString, ServiceName, ipc,
};
use iceoryx2::prelude::{Path as RootPath, set_log_level};
use iceoryx2::service::port_factory::publish_subscribe::PortFactory;
use std::path::Path;
use std::sync::Arc;

type Service = PortFactory<ipc::Service, [u8], ()>;

fn refused(error: impl std::fmt::Debug) -> Failure {
    Failure::new(format!("{error:?}"))
}

/// Makes the service, or finds it.
pub fn service(job: &Job, directory: &Path, name: &str) -> Result<Service, Failure> {
    set_log_level(LogLevel::Fatal);
    let mut config = Config::default();
    // What it leaves goes with the run's directory.
    let run = directory.file_name().map_or(&b"compare"[..], |name| name.as_encoded_bytes());
    config.global.prefix = FileName::new(&[run, b"-"].concat()).map_err(refused)?;
    let root = directory.to_str().ok_or(Failure::new("a directory that is no text"))?;
    config.global.set_root_path(&RootPath::new(root.as_bytes()).map_err(refused)?);
    let node = NodeBuilder::new().config(&config).create::<ipc::Service>().map_err(refused)?;
    let name = ServiceName::new(name).map_err(refused)?;
    let buffer = job.capacity as usize;
    node.service_builder(&name)
        .publish_subscribe::<[u8]>()
        .enable_safe_overflow(false)
        .subscriber_max_buffer_size(buffer)
        .history_size(0)
        .max_publishers(1)
        .max_subscribers(1)
        .open_or_create()
        .map_err(refused)
}

/// Copies in and out.
pub struct Copying;
/// Writes and reads where the message lies.
pub struct InPlace;

pub struct Sending {
    publisher: Publisher<ipc::Service, [u8], ()>,
    _service: Service,
    out: Outgoing,
}

pub struct SendingInPlace {
    publisher: Publisher<ipc::Service, [u8], ()>,
    _service: Service,
    len: usize,
    torn: bool,
}

pub struct Receiving {
    subscriber: Subscriber<ipc::Service, [u8], ()>,
    _service: Service,
    into: Incoming,
    copies: bool,
    control: Arc<Control>,
}

/// A connection whose other end has not taken notice of it yet loses what finds no room: both ends see to it before the
/// first message.
fn publisher(service: &Service, way: &Way) -> Result<Publisher<ipc::Service, [u8], ()>, Failure> {
    let lossless = service.publisher_builder().backpressure_strategy(BackpressureStrategy::RetryUntilDelivered);
    let publisher = lossless.initial_max_slice_len(way.job.bytes).create().map_err(refused)?;
    way.until(|| (service.dynamic_config().number_of_subscribers() > 0).then_some(()))?;
    publisher.update_connections().map_err(refused)?;
    Ok(publisher)
}

fn receiving(way: &Way, copies: bool) -> Result<Receiving, Failure> {
    let service = service(way.job, way.directory, &way.name)?;
    let subscriber = service.subscriber_builder().create().map_err(refused)?;
    way.until(|| (service.dynamic_config().number_of_publishers() > 0).then_some(()))?;
    subscriber.update_connections().map_err(refused)?;
    let (into, control) = (Incoming::new(way.job), Arc::clone(way.control));
    Ok(Receiving { subscriber, _service: service, into, copies, control })
}

impl Rival<u64> for Copying {
    type Kept = Service;
    type Sending = Sending;
    type Receiving = Receiving;

    fn create(way: &Way) -> Result<Service, Failure> {
        service(way.job, way.directory, &way.name)
    }

    fn sending(way: &Way) -> Result<Sending, Failure> {
        let service = service(way.job, way.directory, &way.name)?;
        Ok(Sending { publisher: publisher(&service, way)?, _service: service, out: Outgoing::new(way.job) })
    }

    fn receiving(way: &Way) -> Result<Receiving, Failure> {
        receiving(way, true)
    }
}

impl Rival<u64> for InPlace {
    type Kept = Service;
    type Sending = SendingInPlace;
    type Receiving = Receiving;

    fn create(way: &Way) -> Result<Service, Failure> {
        service(way.job, way.directory, &way.name)
    }

    fn sending(way: &Way) -> Result<SendingInPlace, Failure> {
        let service = service(way.job, way.directory, &way.name)?;
        let publisher = publisher(&service, way)?;
        Ok(SendingInPlace { publisher, _service: service, len: way.job.bytes, torn: false })
    }

    fn receiving(way: &Way) -> Result<Receiving, Failure> {
        receiving(way, false)
    }
}

#[inline(always)]
fn delivered(receivers: usize) -> Result<(), Failure> {
    if receivers == 1 { Ok(()) } else { Err(Failure::new("it was delivered to nobody")) }
}

impl Put<u64> for Sending {
    #[inline(always)]
    fn put(&mut self, word: u64) -> Result<(), Failure> {
        let message = self.out.message(word);
        let sample = self.publisher.loan_slice_uninit(message.len()).map_err(refused)?;
        delivered(sample.write_from_slice(message).send().map_err(refused)?)
    }

    fn tear(&mut self) {
        self.out.tear();
    }
}

impl Put<u64> for SendingInPlace {
    #[inline(always)]
    fn put(&mut self, word: u64) -> Result<(), Failure> {
        let mut sample = self.publisher.loan_slice_uninit(self.len).map_err(refused)?;
        let payload = sample.payload_mut();
        let bytes = payload.as_mut_ptr().cast::<u8>();
        // SAFETY: the payload is ours until it is sent, and so long; nothing is read of it before it is written.
        let payload = unsafe { std::slice::from_raw_parts_mut(bytes, payload.len()) };
        fill(payload, 0, word);
        if std::mem::take(&mut self.torn) {
            payload[self.len / 2] ^= 0x40;
        }
        // SAFETY: every byte was just written.
        delivered(unsafe { sample.assume_init() }.send().map_err(refused)?)
    }

    fn tear(&mut self) {
        self.torn = true;
    }
}

impl Take<u64> for Receiving {
    #[inline(always)]
    fn take(&mut self) -> Result<u64, Failure> {
        loop {
            if let Some(sample) = self.subscriber.receive().map_err(refused)? {
                let message = sample.payload();
                if !self.copies {
                    return self.into.word_of(message);
                }
                if message.len() == self.into.buffer.len() {
                    self.into.buffer.copy_from_slice(message);
                    return self.into.word();
                }
                return Err(Failure::new("a message of another length"));
            }
            if self.control.aborted() {
                return Err(Failure::ABORTED);
            }
            crate::cpus::pause();
        }
    }
}
