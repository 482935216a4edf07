//! A progress bar for maps that take long (feature `progress`).

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::{Duration, Instant};

/// What takes less shows none.
const PATIENCE: Duration = Duration::from_secs(2);

/// Passes items on, and shows on standard error, if that is a terminal, how many of `expected` there were.
pub(super) struct Watched<I> {
    items: I,
    bar: ProgressBar,
    begun: Instant,
    is_shown: bool,
}

impl<I: Iterator> Watched<I> {
    pub(super) fn new(label: &str, expected: Option<usize>, items: I) -> Watched<I> {
        let len = expected.map(|len| len as u64);
        let bar = ProgressBar::with_draw_target(len, ProgressDrawTarget::hidden()).with_message(label.to_owned());
        let template =
            if len.is_some() { "{msg} {bar:30} {pos}/{len} {eta}" } else { "{msg} {spinner} {pos} {per_sec}" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Watched { items, bar, begun: Instant::now(), is_shown: false }
    }
}

impl<I: Iterator> Iterator for Watched<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        let item = self.items.next();
        match item {
            Some(_) => self.bar.inc(1),
            None => self.bar.finish_and_clear(),
        }
        if !self.is_shown && self.begun.elapsed() > PATIENCE {
            self.is_shown = true;
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        item
    }
}

impl<I> Drop for Watched<I> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
