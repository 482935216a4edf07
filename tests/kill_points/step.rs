//! A child under single-step: runs to an entry marker, then instruction by
//! instruction, to be killed after any of them, or to an exit marker.
//!
//! The child asks to be traced itself ([`be_traced`]), and goes with its tracer.
//! A system call is one step, and so is each iteration of a `rep`. Addresses are not
//! randomised, so that the same steps lead to the same point; only an operation that
//! reads the clock (a lease, a wait, attaching) takes some more steps now and then, when
//! the clock changes under its hand.
//!
//! A step costs a microsecond or, in a virtual machine, fifty. So the first run of an
//! operation writes down its [`Trail`], and later ones run along it at full speed, with a
//! breakpoint of the processor shortly before the step that is asked for.

use std::collections::HashMap;
use std::process::Command;

/// What the traced operation said, as its three words at the exit marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    pub count: u64,
    pub kind: u64,
    pub first: u64,
}

// ---- in the child ----

/// From here on this process is traced by its parent.
pub fn be_traced() {
    // SAFETY: touches no memory.
    let traced = unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
    assert_eq!(traced, 0, "tracing is allowed");
}

/// Stops here; the tracer learns where the exit marker is.
pub fn enter() {
    entry_marker(exit_marker as *const () as u64);
}

/// Stops here at the end of the operation.
pub fn exit(said: Said) {
    exit_marker(said.count, said.kind, said.first);
}

#[unsafe(naked)]
extern "C" fn entry_marker(_exit: u64) {
    core::arch::naked_asm!("int3", "ret")
}

#[unsafe(naked)]
extern "C" fn exit_marker(_count: u64, _kind: u64, _first: u64) {
    core::arch::naked_asm!("int3", "ret")
}

// ---- in the tracer ----

/// From here on the children of this process have their addresses where every
/// other child of it has them. Where that is forbidden, a point is still a number of
/// steps, but may be another instruction in another run.
pub fn fix_addresses() {
    // SAFETY: touches no memory.
    unsafe { libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong) };
}

/// Where a child is after some steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// In the operation.
    Inside,
    /// At the exit marker, after so many steps in all.
    Exit(u64, Said),
    /// Somewhere else than where the trail leads.
    Astray,
}

/// The debug register that says which of the first four count, and that they stop execution.
const CONTROL_REGISTER: usize = 7;

/// Where each step of an operation led. Along an empty one every step is taken by itself.
#[derive(Default)]
pub struct Trail {
    addresses: Vec<u64>,
    /// How often it had come to that address by then; the iterations of a `rep`, which are
    /// one instruction, count once.
    visits: Vec<u64>,
}

impl Trail {
    /// The cheapest step from which to go on by single ones to `index`: each visit is a stop,
    /// as is each step. `None`: there is no cheaper one than the start.
    fn anchor(&self, index: usize) -> Option<usize> {
        let is_first = |at: &usize| *at == 0 || self.addresses[*at] != self.addresses[at - 1];
        let cost = |at: usize| self.visits[at] + (index - at) as u64;
        let best = (0..=index).rev().take(1000).filter(is_first).min_by_key(|at| cost(*at))?;
        (cost(best) < index as u64).then_some(best)
    }
}

/// A traced child; killed when dropped.
pub struct Tracee {
    pid: i32,
    exit: u64,
    steps: u64,
    alive: bool,
}

impl Tracee {
    /// Starts a child and lets it run to the entry marker.
    pub fn start(mut command: Command) -> Result<Tracee, String> {
        let child = command.spawn().map_err(|error| format!("no child: {error}"))?;
        // Waited for by number: the standard library knows nothing of stops.
        let mut tracee = Tracee { pid: child.id() as i32, exit: 0, steps: 0, alive: true };
        tracee.wait_for_trap()?;
        // SAFETY: touches no memory of this process.
        let set = unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, tracee.pid, 0, libc::PTRACE_O_EXITKILL) };
        if set != 0 {
            return Err("a traced child goes with its tracer: refused".to_owned());
        }
        tracee.exit = tracee.registers()?.rdi;
        Ok(tracee)
    }

    /// Takes up to `steps` steps, but none over the exit marker.
    pub fn step(&mut self, steps: u64) -> Result<At, String> {
        for _ in 0..steps {
            self.resume(libc::PTRACE_SINGLESTEP)?;
            self.steps += 1;
            if self.instruction_pointer() == self.exit {
                return self.at_exit();
            }
        }
        Ok(At::Inside)
    }

    /// Runs it from the entry marker to the exit marker, and writes down how it went; says after
    /// each step how many there were.
    pub fn record(&mut self, mut each: impl FnMut(u64)) -> Result<(At, Trail), String> {
        let (mut trail, mut visits) = (Trail::default(), HashMap::new());
        loop {
            let at = self.step(1)?;
            let address = self.instruction_pointer();
            let count = visits.entry(address).or_insert(0_u64);
            *count += u64::from(trail.addresses.last() != Some(&address));
            trail.addresses.push(address);
            trail.visits.push(*count);
            each(self.steps);
            if at != At::Inside {
                return Ok((at, trail));
            }
        }
    }

    /// As [`step`](Tracee::step) from the entry marker, faster: along the trail of an earlier run,
    /// if it goes that way (what single steps make so slow that some time has passed does not).
    pub fn step_along(&mut self, trail: &Trail, steps: u64) -> Result<At, String> {
        let index = usize::try_from(steps).unwrap_or(usize::MAX).checked_sub(1);
        let index = index.filter(|index| *index < trail.addresses.len());
        let Some(anchor) = index.and_then(|index| trail.anchor(index)) else { return self.step(steps) };
        // The exit is guarded too: the run may differ, and end before.
        if self.set_breakpoints(&[trail.addresses[anchor], self.exit]).is_err() {
            return self.step(steps); // A machine without them.
        }
        for _ in 0..trail.visits[anchor] {
            self.resume(libc::PTRACE_CONT)?;
            if self.instruction_pointer() == self.exit && trail.addresses[anchor] != self.exit {
                return Ok(At::Astray);
            }
        }
        self.set_breakpoints(&[])?;
        self.steps = anchor as u64 + 1;
        let mut at = if trail.addresses[anchor] == self.exit { self.at_exit()? } else { At::Inside };
        while self.steps < steps && at == At::Inside {
            at = self.step(1)?;
            if self.instruction_pointer() != trail.addresses[self.steps as usize - 1] {
                return Ok(At::Astray);
            }
        }
        Ok(at)
    }

    /// Lets it run to the exit marker, without counting.
    pub fn run_out(&mut self) -> Result<At, String> {
        if self.instruction_pointer() != self.exit {
            self.resume(libc::PTRACE_CONT)?;
        }
        self.at_exit()
    }

    /// SIGKILL, and waits for the death: afterwards nothing of it is left but what it
    /// has stored.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if self.alive {
            self.alive = false;
            let mut status = 0;
            // SAFETY: `status` is a local; the pid is our own child's, not yet waited for.
            unsafe {
                libc::kill(self.pid, libc::SIGKILL);
                while libc::waitpid(self.pid, &mut status, libc::__WALL) == self.pid && libc::WIFSTOPPED(status) {}
            }
        }
    }

    /// Stops it before it executes what is at one of these addresses (four at most).
    fn set_breakpoints(&self, addresses: &[u64]) -> Result<(), String> {
        let mut enabled = 0;
        let offset = std::mem::offset_of!(libc::user, u_debugreg);
        let set = |register: usize, value: u64| {
            // SAFETY: writes a debug register of the stopped child, which the kernel checks.
            let set = unsafe { libc::ptrace(libc::PTRACE_POKEUSER, self.pid, offset + 8 * register, value) };
            if set == 0 { Ok(()) } else { Err(format!("a breakpoint: {}", std::io::Error::last_os_error())) }
        };
        set(CONTROL_REGISTER, 0)?;
        for (register, address) in addresses.iter().enumerate() {
            set(register, *address)?;
            enabled |= 1 << (2 * register);
        }
        set(CONTROL_REGISTER, enabled)
    }

    fn resume(&mut self, how: libc::c_uint) -> Result<(), String> {
        // SAFETY: touches no memory of this process.
        if unsafe { libc::ptrace(how, self.pid, 0, 0) } != 0 {
            return Err(format!("a stopped child goes on: {}", std::io::Error::last_os_error()));
        }
        self.wait_for_trap()
    }

    fn wait_for_trap(&mut self) -> Result<(), String> {
        let mut status = 0;
        // SAFETY: `status` is a local.
        let waited = unsafe { libc::waitpid(self.pid, &mut status, libc::__WALL) };
        if waited != self.pid {
            return Err(format!("a child can be waited for: {}", std::io::Error::last_os_error()));
        }
        if libc::WIFSTOPPED(status) {
            return match libc::WSTOPSIG(status) {
                libc::SIGTRAP => Ok(()),
                signal => Err(format!("the traced child got signal {signal} after {} steps", self.steps)),
            };
        }
        self.alive = false;
        Err(format!("the traced child has ended with status {status:#x} after {} steps", self.steps))
    }

    fn at_exit(&self) -> Result<At, String> {
        let registers = self.registers()?;
        // Before the marker, or after it when it ran there.
        if registers.rip != self.exit && registers.rip != self.exit + 1 {
            return Err("a trap outside of the markers".to_owned());
        }
        Ok(At::Exit(self.steps, Said { count: registers.rdi, kind: registers.rsi, first: registers.rdx }))
    }

    fn instruction_pointer(&self) -> u64 {
        let offset = std::mem::offset_of!(libc::user_regs_struct, rip);
        // SAFETY: reads a word of the stopped child's registers, which lie first in its
        // user area.
        unsafe { libc::ptrace(libc::PTRACE_PEEKUSER, self.pid, offset, 0) as u64 }
    }

    fn registers(&self) -> Result<libc::user_regs_struct, String> {
        // SAFETY: integers, all zeros is a value; the kernel fills them.
        let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        // SAFETY: `registers` is as large as the request fills.
        if unsafe { libc::ptrace(libc::PTRACE_GETREGS, self.pid, 0, &mut registers) } != 0 {
            return Err("a stopped child has registers: refused".to_owned());
        }
        Ok(registers)
    }
}

impl Drop for Tracee {
    fn drop(&mut self) {
        self.end();
    }
}
