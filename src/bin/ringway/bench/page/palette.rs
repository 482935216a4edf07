//! The colours, each with its value on light and on dark paper.
//!
//! Plots are drawn in the light ones. A style sheet gives every element that has one of them the
//! variable of its name, so that the same drawing serves both schemes, and a viewer that knows no
//! variables shows the light one. All have a contrast of at least 4.5 to their paper.

use std::fmt::Write as _;

/// The name of a variable, and its values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Colour {
    pub name: &'static str,
    pub light: (u8, u8, u8),
    dark: (u8, u8, u8),
}

const fn colour(name: &'static str, light: u32, dark: u32) -> Colour {
    const fn parts(rgb: u32) -> (u8, u8, u8) {
        ((rgb >> 16) as u8, (rgb >> 8) as u8, rgb as u8)
    }
    Colour { name, light: parts(light), dark: parts(dark) }
}

pub const TEXT: Colour = colour("text", 0x1b1f24, 0xe6eaf0);
pub const MUTED: Colour = colour("muted", 0x57606a, 0xa9b3bf);
pub const GRID: Colour = colour("grid", 0xd9dee4, 0x353d47);
pub const WARN: Colour = colour("warn", 0xb42318, 0xff8a80);
/// ringway's own; never one of the series.
pub const OURS: Colour = colour("ours", 0x0b5cad, 0x6cb2ff);
pub const OTHERS: Colour = colour("others", 0x6e7781, 0x8f9aa7);
/// For lines, told apart by their marks as well.
pub const SERIES: [Colour; 8] = [
    colour("c1", 0x0a58ca, 0x74b0ff),
    colour("c2", 0xb3480a, 0xff9d57),
    colour("c3", 0x1a7f4b, 0x5fd38f),
    colour("c4", 0x8a3fa0, 0xd79bea),
    colour("c5", 0xa01f4e, 0xff8fb3),
    colour("c6", 0x5f6b00, 0xd5db4e),
    colour("c7", 0x00707a, 0x4fd5df),
    colour("c8", 0x6b5b4b, 0xcdbba7),
];

/// What lies under them.
pub const PAPER: Colour = colour("paper", 0xffffff, 0x14171c);
const RAISED: Colour = colour("raised", 0xf5f7f9, 0x1d2229);

fn all() -> impl Iterator<Item = Colour> {
    [TEXT, MUTED, GRID, WARN, OURS, OTHERS, PAPER, RAISED].into_iter().chain(SERIES)
}

fn hex((r, g, b): (u8, u8, u8)) -> String {
    format!("#{r:02X}{g:02X}{b:02X}")
}

/// The variables on light paper, on dark paper, and what of a drawing follows them. Paper for
/// printing is light.
pub fn style() -> String {
    let values = |value: fn(Colour) -> (u8, u8, u8)| {
        all().fold(String::new(), |mut text, colour| {
            let _ = write!(text, "--{}:{};", colour.name, hex(value(colour)));
            text
        })
    };
    let mut text = format!(
        ":root{{{}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{}}}}}\n",
        values(|colour| colour.light),
        values(|colour| colour.dark)
    );
    for colour in all() {
        let (name, value) = (colour.name, hex(colour.light));
        let _ = writeln!(
            text,
            "svg [fill=\"{value}\"]{{fill:var(--{name})}}svg [stroke=\"{value}\"]{{stroke:var(--{name})}}"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn luminance((r, g, b): (u8, u8, u8)) -> f64 {
        let linear = |part: u8| match f64::from(part) / 255.0 {
            part if part <= 0.04045 => part / 12.92,
            part => ((part + 0.055) / 1.055).powf(2.4),
        };
        0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
    }

    fn contrast(a: (u8, u8, u8), b: (u8, u8, u8)) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn everything_but_the_grid_can_be_read_on_its_paper() {
        for colour in all().filter(|colour| ![GRID, PAPER, RAISED, OTHERS].contains(colour)) {
            for paper in [PAPER, RAISED] {
                let (light, dark) = (contrast(colour.light, paper.light), contrast(colour.dark, paper.dark));
                assert!(light >= 4.5 && dark >= 4.5, "{} on {}: {light:.2}, {dark:.2}", colour.name, paper.name);
            }
        }
        assert!(contrast(OTHERS.light, PAPER.light) >= 3.0 && contrast(OTHERS.dark, PAPER.dark) >= 3.0);
    }

    #[test]
    fn each_drawn_colour_is_its_own() {
        let mut seen: Vec<_> = all().map(|colour| colour.light).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), all().count());
    }
}
