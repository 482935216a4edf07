//! Rare events, for the `log` facade: never from the hot path.
//!
//! In a child that ringway has started a line begins with the child's name.

#[cfg(feature = "log")]
static PROCESS: std::sync::OnceLock<String> = std::sync::OnceLock::new();

/// What comes before each line from now on.
#[cfg(feature = "serde")]
pub(crate) fn set_process(name: &str) {
    #[cfg(feature = "log")]
    let _ = PROCESS.set(format!("{name}: "));
    #[cfg(not(feature = "log"))]
    let _ = name;
}

#[cfg(feature = "log")]
pub(crate) fn log(what: std::fmt::Arguments<'_>) {
    log::info!("{}{what}", PROCESS.get().map_or("", String::as_str));
}

macro_rules! event {
    ($($argument:tt)*) => {{
        #[cfg(feature = "log")]
        crate::event::log(format_args!($($argument)*));
        #[cfg(not(feature = "log"))]
        let _ = format_args!($($argument)*);
    }};
}
pub(crate) use event;
