//! Bar charts as SVG, for light and dark pages.

use std::fmt::Write as _;

use crate::harness::{Measured, OURS};

/// Names, and their colours on light and on dark pages.
const COLOURS: &[(&str, &str, &str)] = &[
    (OURS, "#0a7d4f", "#2fbf85"),
    ("ractor", "#b4552d", "#e08a5f"),
    ("kameo", "#8a5fbf", "#b795e4"),
    ("actix", "#2d6fb4", "#6aa8e6"),
    ("xtra", "#a8903a", "#d4bd62"),
    ("erlang", "#a2003b", "#e55f8f"),
    ("go", "#4b8f96", "#7cc4cb"),
];

const WIDTH: f64 = 880.0;
const COLUMN: f64 = WIDTH / 2.0;
const MARGIN: f64 = 12.0;
const NAMES: f64 = 60.0;
const VALUES: f64 = 96.0;
const BAR: f64 = 12.0;
const HEAD: f64 = 20.0;
const TITLE: f64 = 40.0;
/// What takes more times as long as ours has a bar of that length, and its number says how long it should be.
const LONGEST: f64 = 10.0;

/// A small chart for each figure, two in a row: one bar for each runtime, as long as it is more than ours. Costs, so shorter is better.
pub fn bars<'a>(title: &str, figures: impl Iterator<Item = &'a Measured>) -> String {
    let figures: Vec<_> = figures.filter(|figure| figure.of(OURS).is_some_and(|ours| ours > 0.0)).collect();
    let mut body = String::new();
    let mut top = TITLE;
    for row in figures.chunks(2) {
        let mut height: f64 = 0.0;
        for (column, figure) in row.iter().enumerate() {
            height = height.max(chart(&mut body, figure, MARGIN + column as f64 * COLUMN, top));
        }
        top += height;
    }
    let mut style = String::from(
        "text{font:11px sans-serif;fill:#24292f}.title{font-size:15px;font-weight:600}.name{font-weight:600}.ours{font-weight:600}",
    );
    let mut dark = String::from("text{fill:#e6edf3}");
    for (name, on_light, on_dark) in COLOURS {
        let _ = write!(style, ".{name}{{fill:{on_light}}}");
        let _ = write!(dark, ".{name}{{fill:{on_dark}}}");
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {top}\" width=\"{WIDTH}\" height=\"{top}\" role=\"img\">\n\
         <title>{title}</title>\n\
         <style>{style}@media(prefers-color-scheme:dark){{{dark}}}</style>\n\
         <text class=\"title\" x=\"{MARGIN}\" y=\"24\">{title}; shorter is better</text>\n{body}</svg>\n"
    )
}

/// One figure. Returns its height.
fn chart(body: &mut String, figure: &Measured, left: f64, top: f64) -> f64 {
    // Writing to a string cannot fail.
    let _ = writeln!(
        body,
        "<text class=\"name\" x=\"{left}\" y=\"{}\">{}, {}</text>",
        top + 12.0,
        figure.figure.name,
        figure.figure.unit
    );
    let ours = figure.of(OURS).unwrap_or(1.0);
    let most = figure.medians.iter().map(|(_, value)| value / ours).fold(1.0, f64::max).min(LONGEST);
    let room = COLUMN - 2.0 * MARGIN - NAMES - VALUES;
    for (line, (name, value)) in figure.medians.iter().enumerate() {
        let times = value / ours;
        let length = (room * times.min(LONGEST) / most).max(1.0);
        let (y, x) = (top + HEAD + line as f64 * BAR, left + NAMES);
        let more = if times > LONGEST { " …" } else { "" };
        let class = if *name == OURS { "ours" } else { "peer" };
        let _ = writeln!(
            body,
            "<text class=\"{class}\" x=\"{left}\" y=\"{text:.1}\">{name}</text>\
             <rect class=\"{name}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{length:.1}\" height=\"{bar}\"/>\
             <text class=\"{class}\" x=\"{at:.1}\" y=\"{text:.1}\">{value} · {times:.2}×{more}</text>",
            text = y + BAR - 3.0,
            bar = BAR - 2.0,
            at = x + length + 4.0,
            value = rounded(*value),
        );
    }
    HEAD + figure.medians.len() as f64 * BAR + 12.0
}

/// Three digits are enough.
fn rounded(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::{Better, Figure};

    #[test]
    fn the_longest_bar_belongs_to_the_most_expensive() {
        static FIGURE: Figure = Figure { name: "ask", unit: "ns", better: Better::Lower, about: "" };
        let measured = Measured { figure: &FIGURE, medians: vec![(OURS, 50.0), ("actix", 100.0)] };
        let svg = bars("A title", [&measured].into_iter());
        let room = COLUMN - 2.0 * MARGIN - NAMES - VALUES;
        assert!(svg.contains(&format!("class=\"actix\" x=\"72.0\" y=\"72.0\" width=\"{room:.1}\"")), "{svg}");
        assert!(svg.contains("50.0 · 1.00×") && svg.contains("100 · 2.00×"), "{svg}");
        assert_eq!(svg.matches("<rect").count(), 2);
    }
}
