//! Every SVG drawing of the program: the charts of a report, and the files that
//! `--plot` writes.
//!
//! A `Drawing` names classes and no colours. In a report, page.css colours it;
//! as a file, it carries `FILE_STYLE`. All text in a drawing is numbers and fixed
//! words, so nothing is escaped.

mod histogram;
mod reliability;
mod throughput;
mod trend;

use std::fmt::Write;

pub(super) use self::histogram::histogram;
pub(super) use self::reliability::reliability;
pub use self::reliability::reliability_svg;
pub use self::throughput::{Point, throughput_svg};
pub(super) use self::trend::trend;

/// The style of a drawing in a file, on a white background.
const FILE_STYLE: &str = "text{font:13px sans-serif;fill:#444}.title{font-size:15px}\
    .middle{text-anchor:middle}.end{text-anchor:end}.axis,.grid{stroke:#ddd}\
    .zero{stroke:#999;stroke-dasharray:4 4}.whisker{stroke:#1b6ca8;stroke-width:1.5}\
    .above{fill:#1b6ca8}.series{fill:none;stroke-width:2}";

/// The room above a drawing in a file, for its title.
const TITLE_HEIGHT: f64 = 36.0;

/// An SVG drawing in progress.
struct Drawing {
    width: f64,
    height: f64,
    markup: String,
}

impl Drawing {
    fn new(width: f64, height: f64) -> Self {
        Self { width, height, markup: String::new() }
    }

    fn line(&mut self, class: &str, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2]) {
        self.put(format_args!("<path class=\"{class}\" d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\"/>"));
    }

    fn bar(&mut self, class: &str, [x, y]: [f64; 2], [width, height]: [f64; 2], hint: &str) {
        self.put(format_args!(
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" \
             height=\"{height:.1}\"><title>{hint}</title></rect>"
        ));
    }

    fn dot(&mut self, class: &str, [x, y]: [f64; 2], radius: f64, hint: &str) {
        self.put(format_args!(
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" \
             r=\"{radius:.1}\"><title>{hint}</title></circle>"
        ));
    }

    fn text(&mut self, class: &str, [x, y]: [f64; 2], text: &str) {
        self.put(format_args!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"));
    }

    /// Text that runs upwards, centred on a point.
    fn upwards(&mut self, [x, y]: [f64; 2], text: &str) {
        self.put(format_args!(
            "<text class=\"middle\" transform=\"translate({x:.1} {y:.1}) rotate(-90)\">{text}</text>"
        ));
    }

    fn put(&mut self, markup: std::fmt::Arguments<'_>) {
        // Writing to a String can't fail.
        let _ = self.markup.write_fmt(markup);
    }

    /// The drawing as a part of a page. `label` is its text for screen readers.
    fn into_page(self, label: &str) -> String {
        let Self { width, height, markup } = self;
        format!(
            "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" \
             aria-label=\"{label}\">{markup}</svg>"
        )
    }

    /// The drawing as a separate file, with a title above it.
    fn into_file(self, title: &str) -> String {
        let Self { width, height, markup } = self;
        let (top, total) = (-TITLE_HEIGHT, height + TITLE_HEIGHT);
        let elements = markup.replace("><", ">\n<");
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 {top} {width} {total}\">\n\
             <style>{FILE_STYLE}</style>\n\
             <rect y=\"{top}\" width=\"{width}\" height=\"{total}\" fill=\"white\"/>\n\
             <text class=\"title\" x=\"16\" y=\"-14\">{title}</text>\n{elements}\n</svg>\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_style_a_drawing_and_files_carry_their_style() {
        let drawing = || {
            let mut drawing = Drawing::new(20.0, 10.0);
            drawing.line("zero", [0.0, 0.0], [20.0, 10.0]);
            drawing.dot("above", [5.0, 5.0], 2.0, "five");
            drawing
        };
        let page = drawing().into_page("a dot");
        assert!(
            page.starts_with("<svg viewBox=\"0 0 20 10\" role=\"img\" aria-label=\"a dot\"><path")
        );
        assert!(!page.contains("style"), "{page}");
        let file = drawing().into_file("A dot");
        assert!(
            file.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 -36 20 46\">")
        );
        assert!(file.contains(FILE_STYLE) && file.contains(">A dot</text>"), "{file}");
        assert!(file.contains("cx=\"5.0\" cy=\"5.0\" r=\"2.0\">\n<title>five</title>"), "{file}");
        assert!(file.ends_with("\n</svg>\n"), "{file}");
    }
}
