//! Boost.Interprocess, its message queue: compiled from a few lines of C++ when a run begins, where there is a
//! compiler and Boost's headers, and loaded.

#![allow(unsafe_code)]

use super::buffers::{Incoming, Outgoing};
use super::rival::{Retry, Rival, Way};
use super::{Failure, Put, Take};
use libloading::Library;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::PathBuf;
use std::process::Command;
use std::ptr::null_mut;
use std::sync::{Arc, OnceLock};

const SOURCE: &str = include_str!("boost.cpp");

type OpenFn = unsafe extern "C" fn(*const c_char, usize, usize, c_int, *mut *mut c_void, *mut c_char, usize) -> c_int;
type CloseFn = unsafe extern "C" fn(*mut c_void);
type RemoveFn = unsafe extern "C" fn(*const c_char);
type SendFn = unsafe extern "C" fn(*mut c_void, *const c_void, usize, *mut c_char, usize) -> c_int;
type ReceiveFn = unsafe extern "C" fn(*mut c_void, *mut c_void, usize, *mut usize, *mut c_char, usize) -> c_int;

/// What `boost.cpp` offers.
struct Functions {
    open: OpenFn,
    close: CloseFn,
    remove: RemoveFn,
    try_send: SendFn,
    try_receive: ReceiveFn,
    /// Keeps them loaded.
    _library: Library,
}

/// Beside this program.
fn library() -> Result<PathBuf, Failure> {
    let program = std::env::current_exe().map_err(Failure::new)?;
    Ok(program.parent().unwrap_or(&program).join("libboost-rival.so"))
}

/// Why it is not measured, if it is not. Compiles it, once a run.
pub fn refusal() -> Option<String> {
    static REFUSAL: OnceLock<Option<String>> = OnceLock::new();
    REFUSAL.get_or_init(|| build().err()).clone()
}

fn build() -> Result<(), String> {
    let library = library().map_err(|failure| failure.to_string())?;
    let directory = crate::guard::directory();
    let source = directory.join("boost.cpp");
    std::fs::write(&source, SOURCE).map_err(|error| format!("{}: {error}", source.display()))?;
    let made = directory.join("boost.so");
    let mut compiler = Command::new("c++");
    // Without its assertions, as whoever ships it builds it.
    let options = ["-O3", "-DNDEBUG", "-std=c++17", "-shared", "-fPIC", "-o"];
    compiler.args(options).arg(&made).arg(&source).args(["-lrt", "-lpthread"]);
    let output = crate::guard::output(&mut compiler).map_err(|error| format!("c++: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let cause = said.lines().find(|line| line.contains("error")).or(said.lines().last()).unwrap_or("nothing");
        return Err(format!("it does not compile (Debian: libboost-dev): {cause}"));
    }
    // Another run may have the old one mapped.
    let beside = library.with_extension(format!("{}", std::process::id()));
    let moved = std::fs::copy(&made, &beside).and_then(|_| std::fs::rename(&beside, &library));
    let _ = std::fs::remove_file(&made);
    moved.map_err(|error| format!("{}: {error}", library.display()))
}

fn functions() -> Result<Arc<Functions>, Failure> {
    // SAFETY: it was made of `boost.cpp`, by this program; loading it runs nothing but the initialisers of the C++
    // library, and the functions have the types that are written there.
    unsafe {
        let library = Library::new(library()?).map_err(Failure::new)?;
        Ok(Arc::new(Functions {
            open: *library.get(b"rival_open").map_err(Failure::new)?,
            close: *library.get(b"rival_close").map_err(Failure::new)?,
            remove: *library.get(b"rival_remove").map_err(Failure::new)?,
            try_send: *library.get(b"rival_try_send").map_err(Failure::new)?,
            try_receive: *library.get(b"rival_try_receive").map_err(Failure::new)?,
            _library: library,
        }))
    }
}

/// Why a function failed.
#[derive(Default)]
struct Why([u8; 32]);

impl Why {
    const ROOM: usize = 32;

    fn room(&mut self) -> *mut c_char {
        self.0.as_mut_ptr().cast()
    }

    #[cold]
    fn failure(&self) -> Failure {
        let text = CStr::from_bytes_until_nul(&self.0).map(CStr::to_string_lossy).unwrap_or_default();
        Failure::new(format!("Boost says: {text}"))
    }
}

/// An open queue.
struct Queue {
    functions: Arc<Functions>,
    queue: *mut c_void,
}

impl Queue {
    fn open(way: &Way, creates: bool) -> Result<Queue, Failure> {
        let functions = functions()?;
        let name = CString::new(way.global_name.as_str()).map_err(Failure::new)?;
        let (mut queue, mut why) = (null_mut(), Why::default());
        let (count, size) = (way.job.capacity as usize, way.job.bytes);
        // SAFETY: a string, a place for the pointer, and as much room as is said.
        let failed =
            unsafe { (functions.open)(name.as_ptr(), count, size, creates.into(), &mut queue, why.room(), Why::ROOM) };
        if failed != 0 { Err(why.failure()) } else { Ok(Queue { functions, queue }) }
    }

    /// What of a call's answer is left to do.
    #[inline(always)]
    fn answer(code: c_int, why: &Why) -> Result<Option<()>, Failure> {
        match code {
            0 => Ok(Some(())),
            -1 => Ok(None),
            _ => Err(why.failure()),
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: it came from `open`, and nobody uses it afterwards.
        unsafe { (self.functions.close)(self.queue) }
    }
}

pub struct MessageQueue;

pub struct Kept {
    queue: Queue,
    name: CString,
}

impl Drop for Kept {
    fn drop(&mut self) {
        // SAFETY: a string.
        unsafe { (self.queue.functions.remove)(self.name.as_ptr()) }
    }
}

pub struct Sending {
    queue: Queue,
    retry: Retry,
    out: Outgoing,
}

pub struct Receiving {
    queue: Queue,
    retry: Retry,
    into: Incoming,
}

impl Rival<u64> for MessageQueue {
    type Kept = Kept;
    type Sending = Sending;
    type Receiving = Receiving;

    fn create(way: &Way) -> Result<Kept, Failure> {
        let name = CString::new(way.global_name.as_str()).map_err(Failure::new)?;
        Ok(Kept { queue: Queue::open(way, true)?, name })
    }

    fn sending(way: &Way) -> Result<Sending, Failure> {
        Ok(Sending { queue: Queue::open(way, false)?, retry: Retry::polls(way), out: Outgoing::new(way.job) })
    }

    fn receiving(way: &Way) -> Result<Receiving, Failure> {
        Ok(Receiving { queue: Queue::open(way, false)?, retry: Retry::polls(way), into: Incoming::new(way.job) })
    }
}

impl Put<u64> for Sending {
    fn put(&mut self, word: u64) -> Result<(), Failure> {
        let (Queue { functions, queue }, message) = (&self.queue, self.out.message(word));
        let mut why = Why::default();
        self.retry.until_ok(|| {
            // SAFETY: the queue is open, the message is so long, and so is the room.
            let code =
                unsafe { (functions.try_send)(*queue, message.as_ptr().cast(), message.len(), why.room(), Why::ROOM) };
            Queue::answer(code, &why)
        })
    }

    fn tear(&mut self) {
        self.out.tear();
    }
}

impl Take<u64> for Receiving {
    fn take(&mut self) -> Result<u64, Failure> {
        let (Queue { functions, queue }, buffer) = (&self.queue, &mut self.into.buffer);
        let (mut len, mut why) = (0, Why::default());
        self.retry.until_ok(|| {
            let (room, size) = (buffer.as_mut_ptr().cast(), buffer.len());
            // SAFETY: the queue is open, and there is as much room as is said.
            let code = unsafe { (functions.try_receive)(*queue, room, size, &mut len, why.room(), Why::ROOM) };
            Queue::answer(code, &why)
        })?;
        self.into.word_of(self.into.buffer.get(..len).unwrap_or_default())
    }
}
