//! What a child's standard input, output and error are.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

/// What becomes a standard stream of a child.
///
/// Anything that owns a descriptor can be one: a file, an end of a pipe ([`std::io::pipe`]), a
/// socket.
///
/// ```
/// use std::io::{PipeWriter, Read};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # ringway::init();
/// let (mut reader, writer) = std::io::pipe()?;
/// let mut hello = ringway::Process::new(|| println!("hello"), ()).stdout(writer);
/// hello.start()?; // which closes our `writer`
/// let mut text = String::new();
/// reader.read_to_string(&mut text)?;
/// assert_eq!(text, "hello\n");
/// # hello.join()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
#[non_exhaustive]
pub enum Stream {
    /// The one of this process.
    #[default]
    Inherit,
    /// `/dev/null`.
    Null,
    /// This one.
    Descriptor(OwnedFd),
}

impl<D: Into<OwnedFd>> From<D> for Stream {
    fn from(descriptor: D) -> Stream {
        Stream::Descriptor(descriptor.into())
    }
}

impl Stream {
    /// None: the child inherits ours.
    pub(super) fn open(&self) -> io::Result<Option<OwnedFd>> {
        let opened = match self {
            Stream::Inherit => return Ok(None),
            Stream::Null => OwnedFd::from(File::options().read(true).write(true).open("/dev/null")?),
            Stream::Descriptor(descriptor) => descriptor.try_clone()?,
        };
        Ok(Some(crate::sys::shm::above_the_streams(opened)?))
    }
}
