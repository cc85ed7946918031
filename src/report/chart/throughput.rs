//! Throughput against the number of sequences decoded together.

use super::Drawing;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 364.0;
const MARGIN: f64 = 56.0;
const TOP: f64 = 16.0;

/// The colour and the dash pattern of each series, in order.
const STYLES: [(&str, &str); 3] = [("#1b6ca8", "none"), ("#b5541c", "6 3"), ("#3b7d3a", "2 3")];

/// The throughput of a series at one width.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point<'a> {
    /// The name of the series: fixed words without markup.
    pub series: &'a str,
    /// The number of sequences decoded together.
    pub width: usize,
    /// Rows per second.
    pub rate: f64,
}

/// Draws rows per second against width as an SVG file. Each series is in percent of
/// its best rate, so that all share an axis.
#[must_use]
pub fn throughput_svg(points: &[Point<'_>]) -> String {
    let mut widths: Vec<usize> = points.iter().map(|point| point.width).collect();
    widths.sort_unstable();
    widths.dedup();
    let widest = widths.last().copied().unwrap_or(1).max(2) as f64;
    let x = |width: usize| MARGIN + (WIDTH - 2.0 * MARGIN) * (width as f64).log2() / widest.log2();
    let y = |share: f64| HEIGHT - MARGIN - (HEIGHT - MARGIN - TOP) * share;

    let mut drawing = Drawing::new(WIDTH, HEIGHT);
    for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
        drawing.line("grid", [MARGIN, y(tick)], [WIDTH - MARGIN, y(tick)]);
        drawing.text("end", [MARGIN - 8.0, y(tick) + 4.0], &format!("{}", tick * 100.0));
    }
    for &width in &widths {
        drawing.text("middle", [x(width), HEIGHT - MARGIN + 20.0], &format!("{width}"));
    }
    drawing.text("middle", [WIDTH / 2.0, HEIGHT - 12.0], "sequences decoded together");

    let mut names: Vec<&str> = Vec::new();
    for point in points {
        if !names.contains(&point.series) {
            names.push(point.series);
        }
    }
    for (at, name) in names.iter().enumerate() {
        let mut own: Vec<&Point> = points.iter().filter(|point| point.series == *name).collect();
        own.sort_by_key(|point| point.width);
        let best = own.iter().map(|point| point.rate).fold(f64::MIN_POSITIVE, f64::max);
        let path: Vec<String> = own
            .iter()
            .map(|point| format!("{:.1} {:.1}", x(point.width), y(point.rate / best)))
            .collect();
        let (color, dash) = STYLES[at % STYLES.len()];
        drawing.put(format_args!(
            "<path class=\"series\" stroke=\"{color}\" stroke-dasharray=\"{dash}\" d=\"M{}\"/>",
            path.join("L")
        ));
        drawing.put(format_args!(
            "<text style=\"fill:{color}\" x=\"{:.1}\" y=\"{:.1}\">{name}: best {best:.2} a \
             second</text>",
            WIDTH - MARGIN - 190.0,
            HEIGHT - MARGIN - 60.0 + 18.0 * at as f64
        ));
    }
    drawing.into_file("Throughput by width, in percent of each workload's best")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_series_is_a_line_in_percent_of_its_best() {
        let point = |series, width, rate| Point { series, width, rate };
        let svg = throughput_svg(&[
            point("loop", 4, 8.0),
            point("loop", 1, 2.0),
            point("verdicts", 2, 5.0),
        ]);
        // Widths 1 and 4 are at the ends of 528, a quarter of the best is 73 of 292.
        assert!(svg.contains("d=\"M56.0 235.0L584.0 16.0\""), "{svg}");
        assert!(svg.contains("d=\"M320.0 16.0\""), "{svg}");
        assert!(svg.contains(">loop: best 8.00 a second<"), "{svg}");
        assert!(svg.contains(">verdicts: best 5.00 a second<"), "{svg}");
        assert_eq!(svg.matches("class=\"series\"").count(), 2);
        assert!(throughput_svg(&[]).starts_with("<svg"));
    }
}
