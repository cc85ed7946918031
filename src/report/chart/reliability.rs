//! The reliability diagram: observed frequency against predicted probability.

use super::Drawing;
use crate::report::view::Chart;
use crate::report::words::{count, counted, percent};
use amend_core::stats::{Bin, wilson};

/// The side of the diagram's square.
const SIDE: f64 = 280.0;
/// The margins, with room for the labels of the axes on the left and below.
const LEFT: f64 = 62.0;
const BOTTOM: f64 = 52.0;
const TOP: f64 = 12.0;
const RIGHT: f64 = 16.0;

/// Draws a dot per bin with its 95 % Wilson interval and its number of items. On
/// the diagonal the judge is calibrated.
fn draw(bins: &[Bin]) -> Drawing {
    let mut drawing = Drawing::new(LEFT + SIDE + RIGHT, TOP + SIDE + BOTTOM);
    let point = |p: f64, share: f64| [LEFT + SIDE * p, TOP + SIDE * (1.0 - share)];
    for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
        drawing.line("grid", point(0.0, tick), point(1.0, tick));
        let [x, y] = point(0.0, tick);
        drawing.text("end", [x - 6.0, y + 5.0], &format!("{tick}"));
        let [x, y] = point(tick, 0.0);
        drawing.text("middle", [x, y + 20.0], &format!("{tick}"));
    }
    drawing.line("zero", point(0.0, 0.0), point(1.0, 1.0));
    let total: usize = bins.iter().map(|bin| bin.n).sum();
    for bin in bins {
        // The observed share is a count over n; this gives the count back.
        let better = (bin.observed * bin.n as f64).round() as usize;
        if let Some(interval) = wilson(better, bin.n) {
            let [low, high] = [interval.low, interval.high].map(|end| point(bin.predicted, end));
            drawing.line("whisker", low, high);
        }
        let [x, y] = point(bin.predicted, bin.observed);
        let radius = 3.0 + 9.0 * (bin.n as f64 / total.max(1) as f64).sqrt();
        let n = count(bin.n as u64);
        let hint = format!(
            "given a probability of {:.2}, A is better in {} of {n}",
            bin.predicted,
            percent(bin.observed),
        );
        drawing.dot("above", [x, y], radius, &hint);
        // Near the right edge, the number goes on the left of its dot.
        if bin.predicted > 0.75 {
            drawing.text("above end", [x - radius - 3.0, y - 4.0], &n);
        } else {
            drawing.text("above", [x + radius + 3.0, y - 4.0], &n);
        }
    }
    drawing.text("middle", [LEFT + SIDE / 2.0, TOP + SIDE + 42.0], "probability given to A");
    drawing.upwards([18.0, TOP + SIDE / 2.0], "share in which A is better");
    drawing
}

/// The reliability diagram as a chart of a report.
pub fn reliability(bins: &[Bin]) -> Chart {
    Chart {
        title: "Reliability diagram".to_owned(),
        note: "Share of items in which A is better, against the probability that the judge gave \
               to A. On the diagonal the judge is calibrated. Lines are 95 % intervals; larger \
               dots stand for more items."
            .to_owned(),
        svg: draw(bins).into_page(&format!("Reliability: {}", counted(bins.len(), "bin"))),
    }
}

/// The reliability diagram as an SVG file.
#[must_use]
pub fn reliability_svg(bins: &[Bin]) -> String {
    draw(bins).into_file("Reliability diagram of the judge")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_and_file_draw_the_same_dots() {
        let bins = [
            Bin { low: 0.7, high: 0.8, n: 4, predicted: 0.75, observed: 0.5 },
            Bin { low: 0.9, high: 1.0, n: 0, predicted: 0.95, observed: 1.0 },
        ];
        let page = reliability(&bins).svg;
        // 62 + 0.75 · 280 and 12 + 0.5 · 280; the bin holds all items, so its radius is 12.
        let dot = "<circle class=\"above\" cx=\"272.0\" cy=\"152.0\" r=\"12.0\">";
        let file = reliability_svg(&bins);
        for svg in [&page, &file] {
            assert!(svg.contains(dot), "{svg}");
            assert!(svg.contains("given a probability of 0.75, A is better in 50 % of 4"), "{svg}");
            assert!(
                svg.contains("<text class=\"above\" x=\"287.0\" y=\"148.0\">4</text>"),
                "{svg}"
            );
            assert!(svg.contains("<text class=\"above end\""), "{svg}");
            assert_eq!(svg.matches("<circle").count(), 2);
            // An empty bin has no interval.
            assert_eq!(svg.matches("\"whisker\"").count(), 1);
        }
        assert!(file.starts_with("<svg") && file.ends_with("</svg>\n"));
    }
}
