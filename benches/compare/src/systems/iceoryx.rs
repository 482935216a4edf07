//! iceoryx2, publish and subscribe of byte slices, lossless, copied in and out.
//!
//! Its files lie in the private directory, but for the shared memory, which goes with
//! its ports.

use super::large::{mark, marked};
use super::{Failure, Put, Take};
use crate::control::Control;
use crate::job::Job;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::{
    BackpressureStrategy, Config, FileName, LogLevel, NodeBuilder, SemanticString, ServiceName, ipc,
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

/// Sends copies of its buffer.
pub struct Sending {
    publisher: Publisher<ipc::Service, [u8], ()>,
    _service: Service,
    buffer: Vec<u8>,
}

impl Sending {
    pub fn new(service: Service, job: &Job) -> Result<Sending, Failure> {
        let publisher = service
            .publisher_builder()
            .initial_max_slice_len(job.bytes)
            .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
            .create()
            .map_err(refused)?;
        Ok(Sending { publisher, _service: service, buffer: vec![7; job.bytes] })
    }
}

impl Put<u64> for Sending {
    #[inline(always)]
    fn put(&mut self, word: u64) -> Result<(), Failure> {
        mark(&mut self.buffer, word);
        let sample = self.publisher.loan_slice_uninit(self.buffer.len()).map_err(refused)?;
        sample.write_from_slice(&self.buffer).send().map_err(refused)?;
        Ok(())
    }
}

/// Copies into its buffer.
pub struct Receiving {
    subscriber: Subscriber<ipc::Service, [u8], ()>,
    _service: Service,
    buffer: Vec<u8>,
    control: Arc<Control>,
}

impl Receiving {
    pub fn new(service: Service, job: &Job, control: Arc<Control>) -> Result<Receiving, Failure> {
        let subscriber = service.subscriber_builder().create().map_err(refused)?;
        Ok(Receiving { subscriber, _service: service, buffer: vec![0; job.bytes], control })
    }
}

impl Take<u64> for Receiving {
    #[inline(always)]
    fn take(&mut self) -> Result<u64, Failure> {
        loop {
            if let Some(sample) = self.subscriber.receive().map_err(refused)? {
                if sample.payload().len() != self.buffer.len() {
                    return Err(Failure::new("a message of another length"));
                }
                self.buffer.copy_from_slice(sample.payload());
                return marked(&self.buffer, self.buffer.len());
            }
            if self.control.aborted() {
                return Err(Failure::ABORTED);
            }
            std::hint::spin_loop();
        }
    }
}
