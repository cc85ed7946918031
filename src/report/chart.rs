//! Drawings as SVG, coloured by the page's style sheet. All text in them is
//! numbers and fixed words.

use std::fmt::Write;

use super::view::Chart;
use super::words::{count, counted, percent, signed};
use amend_core::stats;
use amend_core::stats::Bin;

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 240.0;
/// Room for the labels of the axes.
const LEFT: f64 = 44.0;
const BOTTOM: f64 = 34.0;
const TOP: f64 = 12.0;
const RIGHT: f64 = 12.0;

/// Bars of a histogram; an even number, so that two of them meet at 0.
const BARS: usize = 24;

/// A drawing being made.
struct Drawing(String);

impl Drawing {
    fn new(width: f64, height: f64, what: &str) -> Self {
        Self(format!("<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{what}\">"))
    }

    fn line(&mut self, class: &str, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2]) {
        self.put(format_args!("<path class=\"{class}\" d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\"/>"));
    }

    fn bar(&mut self, class: &str, [x, y]: [f64; 2], [width, height]: [f64; 2], what: &str) {
        self.put(format_args!(
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" \
             height=\"{height:.1}\"><title>{what}</title></rect>"
        ));
    }

    fn text(&mut self, anchor: &str, [x, y]: [f64; 2], text: &str) {
        self.put(format_args!("<text class=\"{anchor}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"));
    }

    fn put(&mut self, markup: std::fmt::Arguments<'_>) {
        // Writing to a String can't fail.
        let _ = self.0.write_fmt(markup);
    }

    fn done(mut self) -> String {
        self.0.push_str("</svg>");
        self.0
    }
}

/// The least of 0.5, 1, 2, 5, 10, 20, … that holds every value on either side of
/// 0.
fn reach(values: &[f64]) -> f64 {
    let most = values.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
    let mut steps =
        (-1..).flat_map(|power| [5.0, 10.0, 20.0].map(|step| step * 10_f64.powi(power)));
    steps.find(|&step| step >= most || step > 1e9).unwrap_or(1.0)
}

/// How log-odds are distributed about 0; none without values.
pub fn histogram(title: &str, note: &str, values: &[f64]) -> Option<Chart> {
    let reach = reach(values);
    let bars = stats::histogram(values.iter().copied(), -reach, reach, BARS)?;
    let most = bars.counts.iter().copied().max().filter(|&most| most > 0)?;
    let (width, height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    let what = format!(
        "{title}: {} between {} and {}",
        counted(values.len(), "value"),
        signed(-reach),
        signed(reach)
    );
    let mut drawing = Drawing::new(WIDTH, HEIGHT, &what);
    let base = HEIGHT - BOTTOM;
    drawing.line("axis", [LEFT, base], [WIDTH - RIGHT, base]);
    for (at, &number) in bars.counts.iter().enumerate() {
        if number == 0 {
            continue;
        }
        let low = -reach + 2.0 * reach * at as f64 / BARS as f64;
        let high = low + 2.0 * reach / BARS as f64;
        let class = if at < BARS / 2 { "below" } else { "above" };
        let tall = height * number as f64 / most as f64;
        let x = LEFT + width * at as f64 / BARS as f64 + 1.0;
        let what = format!("{} to {}: {}", signed(low), signed(high), count(number as u64));
        drawing.bar(class, [x, base - tall], [width / BARS as f64 - 2.0, tall], &what);
    }
    let middle = LEFT + width / 2.0;
    drawing.line("zero", [middle, TOP], [middle, base]);
    for tick in [-1.0, -0.5, 0.0, 0.5, 1.0] {
        let x = middle + tick * width / 2.0;
        let anchor = if tick == 1.0 { "end" } else { "middle" };
        let text = if tick == 0.0 { "0".to_owned() } else { signed(tick * reach) };
        drawing.text(anchor, [x + if tick == 1.0 { RIGHT } else { 0.0 }, base + 20.0], &text);
    }
    drawing.text("end", [LEFT - 6.0, TOP + 10.0], &count(most as u64));
    drawing.text("end", [LEFT - 6.0, base], "0");
    Some(Chart { title: title.to_owned(), note: note.to_owned(), svg: drawing.done() })
}

/// The side of the reliability diagram's square.
const SIDE: f64 = 260.0;

/// How often what was given a probability came about, with 95 % intervals.
pub fn reliability(bins: &[Bin]) -> Chart {
    let what = format!("Reliability: {}", counted(bins.len(), "bin"));
    let mut drawing = Drawing::new(LEFT + SIDE + RIGHT, TOP + SIDE + BOTTOM + 18.0, &what);
    let at = |p: f64, share: f64| [LEFT + SIDE * p, TOP + SIDE * (1.0 - share)];
    for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
        drawing.line("grid", at(0.0, tick), at(1.0, tick));
        let [x, y] = at(0.0, tick);
        drawing.text("end", [x - 6.0, y + 5.0], &format!("{tick}"));
        let [x, y] = at(tick, 0.0);
        drawing.text("middle", [x, y + 20.0], &format!("{tick}"));
    }
    drawing.line("zero", at(0.0, 0.0), at(1.0, 1.0));
    let all: usize = bins.iter().map(|bin| bin.n).sum();
    for bin in bins {
        let came = (bin.observed * bin.n as f64).round() as usize;
        if let Some(interval) = stats::wilson(came, bin.n) {
            drawing.line(
                "whisker",
                at(bin.predicted, interval.low),
                at(bin.predicted, interval.high),
            );
        }
        let [x, y] = at(bin.predicted, bin.observed);
        let radius = 3.0 + 9.0 * (bin.n as f64 / all.max(1) as f64).sqrt();
        drawing.put(format_args!(
            "<circle class=\"above\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\"><title>given {:.2}, \
             came about {} of {}</title></circle>",
            bin.predicted,
            percent(bin.observed),
            count(bin.n as u64),
        ));
    }
    drawing.text("middle", [LEFT + SIDE / 2.0, TOP + SIDE + 42.0], "probability given to A");
    Chart {
        title: "Reliability diagram".to_owned(),
        note: "Share in which A is better, against the probability given to it. On the diagonal \
               the judge is calibrated. Larger dots rest on more items; lines are 95 % intervals."
            .to_owned(),
        svg: drawing.done(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_reaches_to_a_round_number() {
        for (values, expected) in [
            (&[0.1, -0.3][..], 0.5),
            (&[0.5], 0.5),
            (&[-0.51], 1.0),
            (&[1.5, -0.2], 2.0),
            (&[3.0], 5.0),
            (&[-12.0], 20.0),
            (&[], 0.5),
        ] {
            assert_eq!(reach(values), expected, "{values:?}");
        }
        assert!(reach(&[f64::INFINITY]).is_finite());
    }

    #[test]
    fn bars_stand_where_their_values_are() {
        // Reach 1, so bars of 1/12: −0.5 begins bar 6, 0.25 bar 15.
        let svg = histogram("T", "", &[-0.5, 0.25, 0.3, 1.0]).unwrap().svg;
        let width = WIDTH - LEFT - RIGHT;
        for (bar, class, what, tall) in [
            (6, "below", "−0.50 to −0.42: 1", 97.0),
            (15, "above", "+0.25 to +0.33: 2", 194.0),
            (23, "above", "+0.92 to +1.00: 1", 97.0),
        ] {
            let x = LEFT + width * f64::from(bar) / 24.0 + 1.0;
            let expected = format!(
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"15.7\" \
                 height=\"{tall:.1}\"><title>{what}</title></rect>",
                HEIGHT - BOTTOM - tall
            );
            assert!(svg.contains(&expected), "{expected}\n{svg}");
        }
        assert_eq!(svg.matches("<rect").count(), 3);
        assert_eq!(histogram("T", "", &[]), None);
        assert_eq!(histogram("T", "", &[f64::NAN]), None);
    }

    #[test]
    fn dots_stand_at_what_was_given_and_what_came() {
        let bin = Bin { low: 0.7, high: 0.8, n: 4, predicted: 0.75, observed: 0.5 };
        let svg = reliability(&[bin]).svg;
        // 44 + 0.75 · 260 and 12 + 0.5 · 260; all of the data: radius 12.
        assert!(svg.contains("cx=\"239.0\" cy=\"142.0\" r=\"12.0\""), "{svg}");
        assert!(svg.contains("given 0.75, came about 50 % of 4"), "{svg}");
    }
}
