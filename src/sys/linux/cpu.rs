//! What the processor can be told, and how many of them there are.

#![allow(unsafe_code)]

use std::sync::OnceLock;

/// Asks for a line to be read soon. Any address is allowed: a hint never faults.
#[inline(always)]
pub(crate) fn prefetch_read(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch has no architectural effect, whatever the address.
    unsafe {
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        core::arch::asm!("prfm pldl1keep, [{0}]", in(reg) address, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}

/// Asks for a line to be written soon.
#[inline(always)]
pub(crate) fn prefetch_write(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as in `prefetch_read`; a processor without PREFETCHW runs it as a no-op.
    unsafe {
        core::arch::asm!("prefetchw [{0}]", in(reg) address, options(nostack, preserves_flags, readonly));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as in `prefetch_read`.
    unsafe {
        core::arch::asm!("prfm pstl1keep, [{0}]", in(reg) address, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}

/// Lets another runnable thread have this processor.
pub(crate) fn yield_now() {
    std::thread::yield_now();
}

/// Processors that are online. Read once.
///
/// Not those that this thread may use: a thread that is pinned to one core talks
/// to a peer on another, and spinning for it is right.
pub(crate) fn online() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    // SAFETY: sysconf has no preconditions.
    *COUNT.get_or_init(|| usize::try_from(unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) }).unwrap_or(1))
}

/// Whether asking for a ring's lines ahead of time makes it faster.
///
/// Measured on AMD's Zen 4: no gain, and a cost of up to a third. A prototype on
/// another, unnamed machine gained up to a factor of five. So the hints are left
/// to Intel processors; that they pay there is an assumption until measured.
pub(crate) fn prefetching_pays() -> bool {
    vendor() == *b"GenuineIntel"
}

/// Whether a reader that stores to the lines that it has read makes the writer
/// faster: where a line that two cores share keeps an owner (MOESI). Measured on
/// AMD's Zen 4; elsewhere unknown, so not done.
pub(crate) fn adopting_pays() -> bool {
    matches!(&vendor(), b"AuthenticAMD" | b"HygonGenuine")
}

/// The processor's maker, in its own twelve letters; spaces where there are none.
fn vendor() -> [u8; 12] {
    let mut letters = *b"            ";
    #[cfg(target_arch = "x86_64")]
    {
        let leaf = core::arch::x86_64::__cpuid(0);
        for (at, word) in [leaf.ebx, leaf.edx, leaf.ecx].into_iter().enumerate() {
            letters[4 * at..4 * at + 4].copy_from_slice(&word.to_le_bytes());
        }
    }
    letters
}
