//! Draws lines and bars as SVG, by plotters. Each plot is drawn for a wide and for a narrow place,
//! so that its text is as large on a phone as on a desk. Knows axes, names and numbers; not what
//! they mean.

use super::axis::Axis;
use super::palette::{Colour, GRID, MUTED, PAPER, SERIES, TEXT};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, KeyPointHint, NoDefaultFormatting, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Failure<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Width {
    Wide,
    Narrow,
}

impl Width {
    pub fn pixels(self) -> u32 {
        match self {
            Width::Wide => 760,
            Width::Narrow => 350,
        }
    }

    /// How many names fit below a plot with this beside it.
    fn ticks(self, beside: u32) -> usize {
        (self.pixels().saturating_sub(beside) / 64).max(2) as usize
    }
}

/// What is drawn.
#[derive(Clone, Debug)]
pub enum Plot {
    Lines(Lines),
    Bars(Bars),
}

#[derive(Clone, Debug)]
pub struct Lines {
    pub x: Axis,
    pub y: Axis,
    pub series: Vec<Series>,
}

#[derive(Clone, Debug)]
pub struct Series {
    pub name: String,
    /// Drawn thicker.
    pub strong: bool,
    pub points: Vec<(f64, f64)>,
    /// Where marks tell the lines apart: places on the x axis.
    pub marks: Vec<f64>,
}

/// Bars from `from` to their values, the first at the top.
#[derive(Clone, Debug)]
pub struct Bars {
    pub axis: Axis,
    /// None: from the axis' beginning.
    pub from: Option<f64>,
    pub bars: Vec<Bar>,
}

#[derive(Clone, Debug)]
pub struct Bar {
    pub name: String,
    pub value: f64,
    pub whisker: Option<(f64, f64)>,
    pub text: String,
    pub colour: Colour,
}

/// Of all texts.
pub const FONT: &str = "system-ui, -apple-system, Segoe UI, Roboto, Noto Sans, Liberation Sans, sans-serif";
const TEXT_SIZE: f64 = 12.5;
/// What a letter takes of the text's size, on average and a little more.
const LETTER: f64 = 0.63;

/// A drawing without its outer element.
pub struct Drawing {
    pub width: u32,
    pub height: u32,
    pub body: String,
}

impl Plot {
    /// The drawing, or why there is none.
    pub fn draw(&self, width: Width) -> Result<Drawing, String> {
        let (pixels, height) = (width.pixels(), self.height(width));
        let mut text = String::new();
        {
            let area = SVGBackend::with_string(&mut text, (pixels, height)).into_drawing_area();
            let drawn = match self {
                Plot::Lines(lines) => lines.draw(&area, width),
                Plot::Bars(bars) => bars.draw(&area, width),
            };
            drawn.and_then(|()| area.present()).map_err(|error| error.to_string())?;
        }
        let body = text.split_once('>').and_then(|(_, rest)| rest.rsplit_once("</svg>"));
        let (body, _) = body.ok_or("the drawing is not whole")?;
        // What every element would repeat, the outer one says.
        let body = body.replace(&format!(" font-family=\"{FONT}\""), "").replace(" opacity=\"1\"", "");
        Ok(Drawing { width: pixels, height, body })
    }

    fn height(&self, width: Width) -> u32 {
        match self {
            Plot::Lines(lines) => lines.plot_height(width) + Legend::of(&lines.series, width).height() + 12,
            Plot::Bars(bars) => bars.bars.len() as u32 * Bars::row(width) + Bars::FOOT,
        }
    }
}

fn rgb(colour: Colour) -> RGBColor {
    let (r, g, b) = colour.light;
    RGBColor(r, g, b)
}

fn style(colour: Colour, h: HPos, v: VPos) -> TextStyle<'static> {
    // plotters divides sizes by 1.24.
    (FONT, TEXT_SIZE * 1.24).into_font().color(&rgb(colour)).pos(Pos::new(h, v))
}

/// Cut to what fits into so many pixels.
fn fitting(text: &str, pixels: u32) -> String {
    let letters = (f64::from(pixels) / (TEXT_SIZE * LETTER)).floor().max(2.0) as usize;
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    text.chars().take(letters - 1).chain(['…']).collect()
}

/// An axis with the ticks that are wanted, for plotters.
struct Scale {
    range: std::ops::Range<f64>,
    ticks: Vec<(f64, String)>,
}

impl Scale {
    fn of(axis: &Axis, most: usize) -> Scale {
        Scale { range: axis.low..axis.high, ticks: axis.ticks(most) }
    }

    fn empty(high: f64) -> Scale {
        Scale { range: 0.0..high, ticks: Vec::new() }
    }
}

impl Ranged for Scale {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = (value - self.range.start) / (self.range.end - self.range.start);
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // The light lines between are not drawn.
        let all = if hint.weight().allow_light_points() { &[] } else { self.ticks.as_slice() };
        all.iter().map(|(at, _)| *at).collect()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Scale {
    fn format_ext(&self, value: &f64) -> String {
        let nearest = self.ticks.iter().min_by(|a, b| (a.0 - value).abs().total_cmp(&(b.0 - value).abs()));
        nearest.map_or_else(String::new, |(_, name)| name.clone())
    }
}

/// How a chart is told of a scale: plotters takes a description and makes the scale of it.
struct By(Scale);

impl AsRangedCoord for By {
    type CoordDescType = Scale;
    type Value = f64;
}

impl From<By> for Scale {
    fn from(By(scale): By) -> Scale {
        scale
    }
}

/// Names of lines under a plot, in columns.
struct Legend {
    columns: usize,
    rows: usize,
    column: u32,
}

impl Legend {
    const ROW: u32 = 21;
    const SAMPLE: i32 = 34;

    fn of(series: &[Series], width: Width) -> Legend {
        let longest = series.iter().map(|series| series.name.chars().count()).max().unwrap_or(0);
        let wanted = longest as f64 * TEXT_SIZE * LETTER + f64::from(Legend::SAMPLE) + 14.0;
        let columns = ((f64::from(width.pixels() - 8) / wanted) as usize).clamp(1, 4).min(series.len().max(1));
        let column = (width.pixels() - 8) / columns as u32;
        Legend { columns, rows: series.len().div_ceil(columns), column }
    }

    fn height(&self) -> u32 {
        self.rows as u32 * Legend::ROW
    }

    fn draw<'a>(&self, area: &Area<'a>, series: &[Series]) -> Result<(), Failure<'a>> {
        for (k, one) in series.iter().enumerate() {
            let x = (k / self.rows.max(1)).min(self.columns - 1) as i32 * self.column as i32 + 4;
            let y = (k % self.rows.max(1)) as i32 * Legend::ROW as i32 + 17;
            area.draw(&PathElement::new([(x, y), (x + 28, y)], stroke(k, one)))?;
            mark(area, k, (x + 14, y))?;
            let name = fitting(&one.name, self.column.saturating_sub(Legend::SAMPLE as u32 + 4));
            area.draw(&Text::new(name, (x + Legend::SAMPLE, y), style(TEXT, HPos::Left, VPos::Center)))?;
        }
        Ok(())
    }
}

fn colour(k: usize) -> Colour {
    SERIES[k % SERIES.len()]
}

fn stroke(k: usize, series: &Series) -> ShapeStyle {
    rgb(colour(k)).stroke_width(if series.strong { 3 } else { 2 })
}

/// Eight shapes; the second eight lines have them in another order, so that colour and shape
/// together are one line's.
fn mark<'a>(area: &Area<'a>, k: usize, (x, y): (i32, i32)) -> Result<(), Failure<'a>> {
    let (filled, line) = (rgb(colour(k)).filled(), rgb(colour(k)).stroke_width(2));
    let polygon = |points: Vec<(i32, i32)>| area.draw(&Polygon::new(points, filled));
    let cross = |points: [((i32, i32), (i32, i32)); 2]| {
        points.into_iter().try_for_each(|(a, b)| area.draw(&PathElement::new([a, b], line)))
    };
    match (k + k / SERIES.len()) % SERIES.len() {
        0 => area.draw(&Circle::new((x, y), 5, filled)),
        1 => area.draw(&Rectangle::new([(x - 4, y - 4), (x + 5, y + 5)], filled)),
        2 => polygon(vec![(x, y - 6), (x + 6, y + 5), (x - 6, y + 5)]),
        3 => polygon(vec![(x, y - 6), (x + 6, y), (x, y + 6), (x - 6, y)]),
        4 => cross([((x - 5, y - 5), (x + 5, y + 5)), ((x - 5, y + 5), (x + 5, y - 5))]),
        5 => area.draw(&Circle::new((x, y), 5, line)),
        6 => polygon(vec![(x, y + 6), (x + 6, y - 5), (x - 6, y - 5)]),
        _ => cross([((x - 6, y), (x + 6, y)), ((x, y - 6), (x, y + 6))]),
    }
}

impl Lines {
    fn plot_height(&self, width: Width) -> u32 {
        if width == Width::Wide { 380 } else { 300 }
    }

    fn draw<'a>(&self, area: &Area<'a>, width: Width) -> Result<(), Failure<'a>> {
        let (plot, below) = area.split_vertically(self.plot_height(width));
        let y = Scale::of(&self.y, 8);
        let letters = y.ticks.iter().map(|(_, name)| name.chars().count()).max().unwrap_or(0);
        let left = (letters as f64 * TEXT_SIZE * LETTER) as u32 + 12;
        let x = Scale::of(&self.x, width.ticks(left + 24));
        // The title of the y axis stands above it: turned text is hard to read.
        plot.draw(&Text::new(self.y.title.clone(), (4, 4), style(MUTED, HPos::Left, VPos::Top)))?;
        let mut chart = ChartBuilder::on(&plot)
            .margin_top(26)
            .margin_right(if width == Width::Wide { 24 } else { 18 })
            .x_label_area_size(44)
            .y_label_area_size(left)
            .build_cartesian_2d(By(x), By(y))?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(rgb(GRID))
            .axis_style(rgb(MUTED))
            .x_label_style(style(TEXT, HPos::Center, VPos::Top))
            .y_label_style(style(TEXT, HPos::Right, VPos::Center))
            .axis_desc_style(style(MUTED, HPos::Center, VPos::Top))
            .x_desc(self.x.title.clone())
            .draw()?;
        for (k, series) in self.series.iter().enumerate() {
            let placed: Vec<(f64, f64)> = series.points.iter().filter_map(|&point| self.placed(point)).collect();
            chart.draw_series(LineSeries::new(placed.iter().copied(), stroke(k, series)))?;
            let marked = series.points.iter().filter(|(x, _)| series.marks.contains(x));
            for at in marked.filter_map(|&point| self.placed(point)) {
                mark(area, k, chart.backend_coord(&at))?;
            }
        }
        Legend::of(&self.series, width).draw(&below, &self.series)
    }

    fn placed(&self, (x, y): (f64, f64)) -> Option<(f64, f64)> {
        Some((self.x.place(x)?, self.y.place(y)?))
    }
}

impl Bars {
    const FOOT: u32 = 52;
    const THICK: i32 = 14;

    /// What a bar takes: on narrow paper its name stands above it.
    fn row(width: Width) -> u32 {
        if width == Width::Wide { 25 } else { 42 }
    }

    fn draw<'a>(&self, area: &Area<'a>, width: Width) -> Result<(), Failure<'a>> {
        let room = |texts: &mut dyn Iterator<Item = &str>| {
            let letters = texts.map(|text| text.chars().count()).max().unwrap_or(0);
            (letters as f64 * TEXT_SIZE * LETTER) as u32
        };
        let left = match width {
            Width::Wide => room(&mut self.bars.iter().map(|bar| bar.name.as_str())).min(300) + 10,
            // Half of a tick's label.
            Width::Narrow => 20,
        };
        let whiskers = self.bars.iter().any(|bar| bar.whisker.is_some());
        let values = room(&mut self.bars.iter().map(|bar| bar.text.as_str())).max(20) + 14;
        let right = if whiskers && width == Width::Narrow { 30 } else { values };
        let scale = Scale::of(&self.axis, width.ticks(left + right));
        let rows = self.bars.len() as i32 * Bars::row(width) as i32;
        let mut chart = ChartBuilder::on(area)
            .margin_left(left)
            .margin_right(right)
            .x_label_area_size(Bars::FOOT)
            .build_cartesian_2d(By(scale), By(Scale::empty(f64::from(rows.max(1)))))?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(rgb(GRID))
            .axis_style(rgb(GRID))
            .x_label_style(style(TEXT, HPos::Center, VPos::Top))
            .axis_desc_style(style(MUTED, HPos::Center, VPos::Top))
            .x_desc(self.axis.title.clone())
            .draw()?;
        let pixel = |at: f64| chart.backend_coord(&(at.clamp(self.axis.low, self.axis.high), 0.0)).0;
        let from = pixel(self.from.and_then(|from| self.axis.place(from)).unwrap_or(self.axis.low));
        if self.from.is_some() {
            area.draw(&PathElement::new([(from, 0), (from, rows)], rgb(TEXT).stroke_width(1)))?;
        }
        for (k, bar) in self.bars.iter().enumerate() {
            let top = k as i32 * Bars::row(width) as i32;
            let middle = top + if width == Width::Wide { 13 } else { 29 };
            let (name_at, h, room) = match width {
                Width::Wide => ((left as i32 - 8, middle), HPos::Right, left - 8),
                Width::Narrow => ((4, top + 12), HPos::Left, width.pixels() - 8 - if whiskers { values } else { 0 }),
            };
            if width == Width::Narrow {
                // No line runs through a name.
                let under = [(0, top + 3), (width.pixels() as i32, top + 21)];
                area.draw(&Rectangle::new(under, rgb(PAPER).filled()))?;
            }
            area.draw(&Text::new(fitting(&bar.name, room), name_at, style(TEXT, h, VPos::Center)))?;
            let mut end = from;
            if let Some(value) = self.axis.place(bar.value).map(pixel) {
                let (a, b) = (from.min(value), from.max(value).max(from.min(value) + 2));
                let (above, below) = (middle - Bars::THICK / 2, middle + Bars::THICK / 2);
                area.draw(&Rectangle::new([(a, above), (b, below)], rgb(bar.colour).filled()))?;
                end = b;
            }
            if let Some((low, high)) = bar.whisker
                && let (Some(low), Some(high)) = (self.axis.place(low).map(pixel), self.axis.place(high).map(pixel))
                && high > low
            {
                // With an edge of paper, to be seen on the bar.
                for line in [rgb(PAPER).stroke_width(4), rgb(TEXT).stroke_width(2)] {
                    area.draw(&PathElement::new([(low, middle), (high, middle)], line))?;
                    for at in [low, high] {
                        area.draw(&PathElement::new([(at, middle - 4), (at, middle + 4)], line))?;
                    }
                }
                end = end.max(high);
            }
            // Beside a whisker's end the text would be taken for the value there.
            let (text_at, h) = match (whiskers, width) {
                (false, _) => ((end + 6, middle), HPos::Left),
                (true, Width::Wide) => ((width.pixels() as i32 - 2, middle), HPos::Right),
                (true, Width::Narrow) => ((width.pixels() as i32 - 2, name_at.1), HPos::Right),
            };
            area.draw(&Text::new(bar.text.clone(), text_at, style(TEXT, h, VPos::Center)))?;
        }
        Ok(())
    }
}
