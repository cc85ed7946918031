//! Width against throughput, as an SVG.

use std::fmt::Write;

use super::Measured;
use super::workload::Workload;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
const MARGIN: f64 = 56.0;

/// Draws rows a second against width, a line a workload, each in percent of
/// its own best, so that they share an axis.
#[must_use]
pub fn svg(measured: &[Measured]) -> String {
    let widest = measured.iter().map(|one| one.width).max().unwrap_or(1).max(2) as f64;
    let x = |width: usize| MARGIN + (WIDTH - 2.0 * MARGIN) * (width as f64).log2() / widest.log2();
    let y = |share: f64| HEIGHT - MARGIN - (HEIGHT - 2.0 * MARGIN) * share;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{MARGIN}\" y=\"28\" font-size=\"15\">Throughput by width, in percent of each \
         workload's best</text>\n"
    );
    // Writing to a String can't fail.
    let mut line = |text: String| {
        let _ = writeln!(svg, "{text}");
    };
    for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let at = y(tick);
        line(format!(
            "<path d=\"M{MARGIN} {at}H{}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{}\" \
             text-anchor=\"end\">{}</text>",
            WIDTH - MARGIN,
            MARGIN - 8.0,
            at + 4.0,
            tick * 100.0
        ));
    }
    let mut widths: Vec<usize> = measured.iter().map(|one| one.width).collect();
    widths.sort_unstable();
    widths.dedup();
    for width in widths {
        line(format!(
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{width}</text>",
            x(width),
            HEIGHT - MARGIN + 20.0
        ));
    }
    line(format!(
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">sequences decoded together</text>",
        WIDTH / 2.0,
        HEIGHT - 12.0
    ));
    let styles = [
        (Workload::Loop, "loop", "#1b6ca8", ""),
        (Workload::FanOut, "fan-out", "#b5541c", "6 3"),
        (Workload::Verdicts, "verdicts", "#3b7d3a", "2 3"),
    ];
    for (at, (workload, name, color, dash)) in styles.into_iter().enumerate() {
        let mut points: Vec<&Measured> =
            measured.iter().filter(|one| one.workload == workload).collect();
        points.sort_by_key(|one| one.width);
        let Some(best) = points.iter().map(|one| one.rows_per_second).reduce(f64::max) else {
            continue;
        };
        let path: Vec<String> = points
            .iter()
            .map(|one| format!("{:.1} {:.1}", x(one.width), y(one.rows_per_second / best)))
            .collect();
        line(format!(
            "<path d=\"M{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\" \
             stroke-dasharray=\"{dash}\"/>",
            path.join("L")
        ));
        line(format!(
            "<text x=\"{}\" y=\"{}\" fill=\"{color}\">{name}: best {best:.2} a second</text>",
            WIDTH - MARGIN - 190.0,
            HEIGHT - MARGIN - 60.0 + 18.0 * at as f64
        ));
    }
    svg.push_str("</svg>\n");
    svg
}
