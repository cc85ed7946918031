//! The values of a measure over the runs of a series, with the band of the earlier runs.

use super::Drawing;
use crate::report::words::decimal;
use amend_analysis::trend::{MeasureTrend, TrendPoint};

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 240.0;
/// The margins, with room for the labels of the axes on the left and below.
const LEFT: f64 = 50.0;
const BOTTOM: f64 = 34.0;
const TOP: f64 = 12.0;
const RIGHT: f64 = 16.0;

/// The number of intervals on the axis of values, at least.
const TICKS: f64 = 4.0;

/// The most runs that have a number on the axis.
const LABELS: usize = 12;

/// The axis of values: its ends and the distance of its ticks, all round numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
struct ValueAxis {
    low: f64,
    high: f64,
    step: f64,
}

impl ValueAxis {
    /// The axis that contains all values: a step is 1, 2 or 5 times a power of 10.
    fn new(values: &[f64]) -> Self {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        // A measure that doesn't vary has an axis all the same.
        let span = (high - low).max(0.04);
        let power = 10_f64.powf((span / TICKS).log10().floor());
        let steps = [5.0, 2.0, 1.0].map(|factor| factor * power);
        let step = steps.into_iter().find(|step| span / step >= TICKS).unwrap_or(power);
        let down = (low / step).floor();
        let up = (high / step).ceil().max(down + 1.0);
        Self { low: down * step, high: up * step, step }
    }

    fn ticks(self) -> impl Iterator<Item = f64> {
        let count = ((self.high - self.low) / self.step).round() as usize;
        (0..=count).map(move |tick| self.low + self.step * tick as f64)
    }
}

/// Draws the measure's mean in each of `runs` runs with its interval, and the band from the
/// first run that is compared to the latest. Values that are not compared are hollow, and a
/// latest value that left the band has another colour.
pub fn trend(measure: &MeasureTrend, runs: usize) -> String {
    let band = measure.shift.as_ref().map(|change| change.band());
    let mut values: Vec<f64> = band.into_iter().flatten().collect();
    for TrendPoint { mean, .. } in &measure.points {
        values.push(mean.value);
        values.extend(mean.interval.iter().flat_map(|interval| [interval.low, interval.high]));
    }
    let axis = ValueAxis::new(&values);
    let (width, height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    let x = |run: usize| LEFT + width * (run as f64 + 0.5) / runs as f64;
    let y = |value: f64| TOP + height * (axis.high - value) / (axis.high - axis.low);

    let mut drawing = Drawing::new(WIDTH, HEIGHT);
    for tick in axis.ticks() {
        drawing.line("grid", [LEFT, y(tick)], [WIDTH - RIGHT, y(tick)]);
        drawing.text("end", [LEFT - 6.0, y(tick) + 5.0], &decimal(tick));
    }
    let compared: Vec<&TrendPoint> =
        measure.points.iter().filter(|point| point.is_compared).collect();
    if let (Some([low, high]), Some(first)) = (band, compared.first()) {
        let (left, right) = (x(first.run) - 8.0, x(runs - 1) + 8.0);
        let hint = format!("band: {} to {}", decimal(low), decimal(high));
        drawing.bar("band", [left, y(high)], [right - left, y(low) - y(high)], &hint);
    }
    for pair in compared.windows(2) {
        drawing.line(
            "course",
            [x(pair[0].run), y(pair[0].mean.value)],
            [x(pair[1].run), y(pair[1].mean.value)],
        );
    }
    let every = runs.div_ceil(LABELS);
    for run in (0..runs).rev().step_by(every) {
        drawing.text("middle", [x(run), HEIGHT - BOTTOM + 20.0], &(run + 1).to_string());
    }
    for point in &measure.points {
        draw_point(&mut drawing, measure, point, runs, [x(point.run), y(point.mean.value)], y);
    }
    let label = format!("{} values and the band of the earlier runs", measure.points.len());
    drawing.into_page(&label)
}

fn draw_point(
    drawing: &mut Drawing,
    measure: &MeasureTrend,
    point: &TrendPoint,
    runs: usize,
    [x, y]: [f64; 2],
    place: impl Fn(f64) -> f64,
) {
    let mut hint = format!("run {}: {}", point.run + 1, decimal(point.mean.value));
    if let Some(interval) = point.mean.interval {
        drawing.line("whisker", [x, place(interval.low)], [x, place(interval.high)]);
        hint += &format!(" ({} to {})", decimal(interval.low), decimal(interval.high));
    }
    let is_out = [&measure.shift, &measure.drift]
        .into_iter()
        .flatten()
        .any(|change| measure.is_found(change));
    let class = match point.is_compared {
        false => "hollow",
        true if point.run + 1 == runs && is_out => "below",
        true => "above",
    };
    drawing.dot(class, [x, y], 5.0, &hint);
}

#[cfg(test)]
mod tests {
    use super::*;
    use amend_analysis::trend::TrendChange;
    use amend_core::stats::{GroupedMean, Interval};

    #[test]
    fn axis_is_round_and_contains_all_values() {
        for (values, expected) in [
            (&[3.12, 3.48][..], (3.1, 3.5, 0.05)),
            (&[0.0, 1.0], (0.0, 1.0, 0.2)),
            (&[-0.3, 0.4], (-0.3, 0.4, 0.1)),
            (&[1.0, 1.0], (1.0, 1.01, 0.01)),
        ] {
            let ValueAxis { low, high, step } = ValueAxis::new(values);
            for (is, expected) in [(low, expected.0), (high, expected.1), (step, expected.2)] {
                assert!((is - expected).abs() < 1e-9, "{values:?}: {low} {high} {step}");
            }
        }
    }

    #[test]
    fn points_band_and_course_are_drawn() {
        let mean = |value: f64| {
            let interval = Some(Interval { low: value - 0.1, high: value + 0.1 });
            GroupedMean { value, interval, n: 9, groups: 9 }
        };
        let point =
            |run: usize, value: f64| TrendPoint { run, is_compared: run > 0, mean: mean(value) };
        let change = TrendChange {
            earlier: vec![1, 2],
            before: 0.6,
            latest: 0.2,
            change: -0.4,
            bound: 0.1,
            p: 0.001,
            n: 9,
            groups: 9,
        };
        let mut measure = MeasureTrend {
            measure: "<b>".to_owned(),
            kind: None,
            worse: None,
            min_change: 0.0,
            points: vec![point(0, 0.9), point(1, 0.5), point(2, 0.7), point(3, 0.2)],
            shift: Some(change),
            drift: None,
        };
        let svg = trend(&measure, 4);
        // Run 4 is in the last quarter of 414: 50 + 414 · 3.5 / 4. The axis goes from 0 to 1
        // over 194: 12 + 194 · 0.8.
        assert!(svg.contains("<circle class=\"below\" cx=\"412.2\" cy=\"167.2\""), "{svg}");
        assert!(svg.contains("<title>run 4: 0.20 (0.10 to 0.30)</title>"), "{svg}");
        assert!(svg.contains("<title>band: 0.50 to 0.70</title>"), "{svg}");
        let count = |what: &str| svg.matches(what).count();
        assert_eq!((count("\"hollow\""), count("\"above\""), count("\"course\"")), (1, 2, 2));
        assert!(!svg.contains("<b>"));
        // A value within its band has the colour of the others.
        measure.shift.as_mut().unwrap().bound = 0.5;
        assert!(!trend(&measure, 4).contains("\"below\""));
    }
}
