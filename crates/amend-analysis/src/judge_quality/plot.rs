//! The reliability diagram, as an SVG.

use std::fmt::Write;

use amend_core::stats::{Bin, wilson};

const SIZE: f64 = 440.0;
const MARGIN: f64 = 56.0;

/// Draws the share of labels "a" against the probability given to a, a dot a
/// bin with its 95 % interval and its number of rows; on the diagonal the judge
/// is calibrated.
#[must_use]
pub fn reliability_svg(bins: &[Bin]) -> String {
    let x = |share: f64| MARGIN + (SIZE - 2.0 * MARGIN) * share;
    let y = |share: f64| SIZE - MARGIN - (SIZE - 2.0 * MARGIN) * share;
    let middle = SIZE / 2.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {SIZE} {SIZE}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{SIZE}\" height=\"{SIZE}\" fill=\"white\"/>\n\
         <text x=\"{MARGIN}\" y=\"28\" font-size=\"15\">Reliability: rows labelled a, by the \
         probability given to a</text>\n"
    );
    // Writing to a String can't fail.
    let mut line = |text: String| {
        let _ = writeln!(svg, "{text}");
    };
    for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let (across, down) = (x(tick), y(tick));
        let (left, right) = (MARGIN - 8.0, SIZE - MARGIN);
        line(format!(
            "<path d=\"M{MARGIN} {down}H{right}\" stroke=\"#ddd\"/>\
             <text x=\"{left}\" y=\"{}\" text-anchor=\"end\">{tick}</text>\
             <text x=\"{across}\" y=\"{}\" text-anchor=\"middle\">{tick}</text>",
            down + 4.0,
            SIZE - MARGIN + 20.0,
        ));
    }
    line(format!(
        "<path d=\"M{} {}L{} {}\" stroke=\"#999\" stroke-dasharray=\"4 4\"/>",
        x(0.0),
        y(0.0),
        x(1.0),
        y(1.0)
    ));
    line(format!(
        "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">probability given to a</text>",
        SIZE - 14.0
    ));
    line(format!(
        "<text x=\"16\" y=\"{middle}\" text-anchor=\"middle\" transform=\"rotate(-90 16 \
         {middle})\">share labelled a</text>"
    ));
    for bin in bins {
        let (across, down) = (x(bin.predicted), y(bin.observed));
        // The share is a count over n, so this gives the count back.
        let labelled = (bin.observed * bin.n as f64).round() as usize;
        if let Some(interval) = wilson(labelled, bin.n) {
            line(format!(
                "<path d=\"M{across:.1} {:.1}V{:.1}\" stroke=\"#1b6ca8\" stroke-width=\"1.5\"/>",
                y(interval.low),
                y(interval.high)
            ));
        }
        line(format!(
            "<circle cx=\"{across:.1}\" cy=\"{down:.1}\" r=\"4\" fill=\"#1b6ca8\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" fill=\"#1b6ca8\">{}</text>",
            across + 7.0,
            down - 6.0,
            bin.n
        ));
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bin_is_a_dot_where_it_belongs() {
        let bin = Bin { low: 0.7, high: 0.8, n: 8, predicted: 0.75, observed: 0.5 };
        let svg = reliability_svg(&[bin]);
        // 56 + 328 · ¾ across, 384 − 328 · ½ down.
        assert!(svg.contains("<circle cx=\"302.0\" cy=\"220.0\""), "{svg}");
        assert!(svg.contains(">8</text>"), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 1);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    }
}
