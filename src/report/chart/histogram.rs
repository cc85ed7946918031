//! The histogram of log-odds about 0.

use super::Drawing;
use crate::report::view::Chart;
use crate::report::words::{count, counted, signed};
use amend_core::stats;

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 240.0;
/// The margins, with room for the labels of the axes on the left and below.
const LEFT: f64 = 44.0;
const BOTTOM: f64 = 34.0;
const TOP: f64 = 12.0;
const RIGHT: f64 = 12.0;

/// The number of bars; an even number, so that two of them meet at 0.
const BARS: usize = 24;

/// The least of 0.5, 1, 2, 5, 10, 20, … that is at least every value's distance
/// from 0.
fn reach(values: &[f64]) -> f64 {
    let most = values.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
    let mut steps =
        (-1..).flat_map(|power| [5.0, 10.0, 20.0].map(|step| step * 10_f64.powi(power)));
    steps.find(|&step| step >= most || step > 1e9).unwrap_or(1.0)
}

/// Draws how log-odds are distributed about 0. Returns `None` without values.
pub fn histogram(title: &str, note: &str, values: &[f64]) -> Option<Chart> {
    let reach = reach(values);
    let bars = stats::histogram(values.iter().copied(), -reach, reach, BARS)?;
    let most = bars.counts.iter().copied().max().filter(|&most| most > 0)?;
    let (width, height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    let mut drawing = Drawing::new(WIDTH, HEIGHT);
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
        let hint = format!("{} to {}: {}", signed(low), signed(high), count(number as u64));
        drawing.bar(class, [x, base - tall], [width / BARS as f64 - 2.0, tall], &hint);
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
    let label = format!(
        "{title}: {} between {} and {}",
        counted(values.len(), "value"),
        signed(-reach),
        signed(reach)
    );
    Some(Chart { title: title.to_owned(), note: note.to_owned(), svg: drawing.into_page(&label) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axis_reaches_to_a_round_number() {
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
    fn bars_are_drawn_where_their_values_are() {
        // The axis reaches to 1, so a bar is 1/12 wide: −0.5 is in bar 6, 0.25 in
        // bar 15.
        let svg = histogram("T", "", &[-0.5, 0.25, 0.3, 1.0]).unwrap().svg;
        let width = WIDTH - LEFT - RIGHT;
        for (bar, class, hint, tall) in [
            (6, "below", "−0.50 to −0.42: 1", 97.0),
            (15, "above", "+0.25 to +0.33: 2", 194.0),
            (23, "above", "+0.92 to +1.00: 1", 97.0),
        ] {
            let x = LEFT + width * f64::from(bar) / 24.0 + 1.0;
            let expected = format!(
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"15.7\" \
                 height=\"{tall:.1}\"><title>{hint}</title></rect>",
                HEIGHT - BOTTOM - tall
            );
            assert!(svg.contains(&expected), "{expected}\n{svg}");
        }
        assert_eq!(svg.matches("<rect").count(), 3);
        assert_eq!(histogram("T", "", &[]), None);
        assert_eq!(histogram("T", "", &[f64::NAN]), None);
    }
}
