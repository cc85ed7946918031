//! Finds personal data and secrets in texts by patterns.
//!
//! Precision matters more than recall: users switch off a check that reports every hash
//! and order number. So a pattern requires something that only genuine values have: the
//! prefix of a token, a valid check digit, an assigned area code. Reserved and documented
//! examples (`example.com`, 555 numbers, test cards) are not reported. Names, postal
//! addresses and IP addresses are not detected; no pattern can tell an IP address from a
//! version number.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

/// The kind of a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PatternKind {
    /// The e-mail address of a person, not of a role such as `info@`.
    Email,
    /// An international or North American telephone number.
    Phone,
    /// A payment card number.
    Card,
    /// An international bank account number.
    Iban,
    /// A United States social security number.
    SocialSecurity,
    /// A private key in PEM form.
    PrivateKey,
    /// An access token of a service, recognised by its prefix.
    AccessToken,
    /// A signed JSON web token.
    WebToken,
    /// A value assigned to a name such as `password` or `api_key`, or a password in a URL.
    Credential,
}

impl PatternKind {
    /// The name, for messages and placeholders.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Card => "card number",
            Self::Iban => "IBAN",
            Self::SocialSecurity => "SSN",
            Self::PrivateKey => "private key",
            Self::AccessToken => "access token",
            Self::WebToken => "web token",
            Self::Credential => "credential",
        }
    }

    /// Whether it is a secret, as opposed to personal data.
    #[must_use]
    pub fn is_secret(self) -> bool {
        matches!(self, Self::PrivateKey | Self::AccessToken | Self::WebToken | Self::Credential)
    }
}

/// A match in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternMatch {
    /// The kind.
    pub kind: PatternKind,
    /// The bytes of the match.
    pub span: Range<usize>,
}

/// A pattern with an additional check. The match is the group `find` if the pattern has
/// one, else the whole match. The check receives the text and the span of the match, and
/// returns the span to report, which may be shorter, or `None` to reject the match.
struct Rule {
    kind: PatternKind,
    regex: Regex,
    check: fn(&str, Range<usize>) -> Option<Range<usize>>,
}

static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let rule = |kind, pattern: &str, check| Rule {
        kind,
        regex: Regex::new(pattern).expect("the pattern is fixed"),
        check,
    };
    vec![
        rule(
            PatternKind::PrivateKey,
            r"(?s)-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----(?:.*?-----END (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----|.*)",
            private_key,
        ),
        rule(
            PatternKind::WebToken,
            r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
            bounded,
        ),
        rule(
            PatternKind::AccessToken,
            r"(?:AKIA|ASIA)[A-Z2-7]{16}|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}|glpat-[A-Za-z0-9_-]{20,}|xox[abprs]-[0-9]{8,}-[A-Za-z0-9-]{10,}|AIza[A-Za-z0-9_-]{35}|sk-[A-Za-z0-9_-]{20,}|[rs]k_live_[A-Za-z0-9]{16,}|hf_[A-Za-z]{34}|npm_[A-Za-z0-9]{36}|SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}",
            access_token,
        ),
        rule(
            PatternKind::Credential,
            r#"(?i)\b(?:password|passwd|pwd|secret|secret[_-]?key|api[_-]?key|access[_-]?key|auth[_-]?token|access[_-]?token|token)["']?\s*(?::|=|:=)\s*["']?(?<find>[A-Za-z0-9_\-+/=.!@#$%^&*~]{12,})"#,
            credential,
        ),
        rule(
            PatternKind::Credential,
            r"[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{1,64}:(?<find>[^\s/@:]{8,128})@[A-Za-z0-9]",
            credential,
        ),
        rule(
            PatternKind::Email,
            r"[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}",
            email,
        ),
        rule(
            PatternKind::Iban,
            r"[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?",
            iban,
        ),
        rule(
            PatternKind::Card,
            r"[0-9]{4}([ -]?)[0-9]{4}[ -]?[0-9]{4}[ -]?[0-9]{4}|[0-9]{4}[ -]?[0-9]{6}[ -]?[0-9]{4,5}",
            card,
        ),
        rule(PatternKind::SocialSecurity, r"[0-9]{3}-[0-9]{2}-[0-9]{4}", social_security),
        rule(
            PatternKind::Phone,
            r"\+[1-9][0-9]{0,2}(?:[ .-]?\([0-9]{1,4}\))?(?:[ .-]?[0-9]{2,12}){1,5}",
            international,
        ),
        rule(
            PatternKind::Phone,
            r"(?:1[ -])?(?:\([2-9][0-9]{2}\) ?[2-9][0-9]{2}[-. ][0-9]{4}|[2-9][0-9]{2}-[2-9][0-9]{2}-[0-9]{4})",
            north_american,
        ),
    ]
});

/// Finds all personal data and secrets in a text, in order and without overlaps.
#[must_use]
pub fn find(text: &str) -> Vec<PatternMatch> {
    let mut matches = Vec::new();
    for rule in RULES.iter() {
        for captures in rule.regex.captures_iter(text) {
            let Some(capture) = captures.name("find").or_else(|| captures.get(0)) else { continue };
            if let Some(span) = (rule.check)(text, capture.range()) {
                matches.push(PatternMatch { kind: rule.kind, span });
            }
        }
    }
    // Of overlapping matches, keep the one that starts first, then that of the earlier
    // rule: the sort is stable.
    matches.sort_by_key(|entry: &PatternMatch| entry.span.start);
    let mut end = 0;
    matches.retain(|entry| {
        let keep = entry.span.start >= end;
        if keep {
            end = entry.span.end;
        }
        keep
    });
    matches
}

/// Accepts a match with no word character directly before or after it.
fn bounded(text: &str, span: Range<usize>) -> Option<Range<usize>> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let before = text[..span.start].chars().next_back().is_some_and(is_word);
    let after = text[span.end..].chars().next().is_some_and(is_word);
    if before || after { None } else { Some(span) }
}

/// Accepts a number that is not part of a longer number, an identifier, a path or a
/// decimal, and that no word such as "order" precedes.
fn number(text: &str, span: Range<usize>) -> Option<Range<usize>> {
    let before = text[..span.start].chars().next_back();
    let mut after = text[span.end..].chars();
    let next = after.next();
    let joined = |c: char| c.is_alphanumeric() || "-_/#=@%\\".contains(c);
    if before.is_some_and(|c| joined(c) || ".+$€£".contains(c))
        || next.is_some_and(joined)
        || (matches!(next, Some('.' | ',' | ':')) && after.next().is_some_and(|c| c.is_numeric()))
    {
        return None;
    }
    let mut start = span.start.saturating_sub(32);
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let lead = text[start..span.start].to_lowercase();
    const OTHER_NUMBERS: [&str; 12] = [
        "order",
        "invoice",
        "ticket",
        "case",
        "tracking",
        "reference",
        "serial",
        "isbn",
        "part",
        "model",
        "sku",
        "version",
    ];
    let mut words = lead.split(|c: char| !c.is_alphanumeric());
    if words.any(|word| OTHER_NUMBERS.contains(&word)) { None } else { Some(span) }
}

fn digits(text: &str) -> Vec<u32> {
    text.chars().filter_map(|c| c.to_digit(10)).collect()
}

/// The Shannon entropy of the byte frequencies, in bits per byte.
fn entropy(text: &str) -> f64 {
    let mut counts = [0_usize; 256];
    for byte in text.bytes() {
        counts[usize::from(byte)] += 1;
    }
    let total = text.len() as f64;
    let term = |count: usize| count as f64 / total * (count as f64 / total).log2();
    -counts.into_iter().filter(|&count| count > 0).map(term).sum::<f64>()
}

/// Whether a value looks random, as opposed to a word, a placeholder, a hash or a UUID.
fn is_random(value: &str) -> bool {
    let has = |test: fn(&char) -> bool| value.chars().any(|c| test(&c));
    let lower = value.to_lowercase();
    const PLACEHOLDERS: [&str; 9] = [
        "example",
        "your",
        "xxxx",
        "placeholder",
        "changeme",
        "password",
        "secret",
        "12345",
        "test",
    ];
    has(char::is_ascii_digit)
        && has(char::is_ascii_alphabetic)
        && !value.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
        && !PLACEHOLDERS.iter().any(|word| lower.contains(word))
        && entropy(value) >= 3.2
}

fn private_key(text: &str, span: Range<usize>) -> Option<Range<usize>> {
    let body = text[span.clone()].splitn(3, "-----").nth(2)?;
    let is_key_char = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    let body = body.split("-----").next().unwrap_or_default();
    if body.chars().filter(is_key_char).count() >= 40 { Some(span) } else { None }
}

fn access_token(text: &str, span: Range<usize>) -> Option<Range<usize>> {
    let token = &text[span.clone()];
    let amazon = token.starts_with("AKIA") || token.starts_with("ASIA");
    let hugging_face = token.starts_with("hf_"); // letters only
    let real = if amazon {
        !token.ends_with("EXAMPLE")
    } else if hugging_face {
        entropy(token) >= 3.2
    } else {
        // Words joined by hyphens are a CSS class, not a key.
        is_random(token) && token.chars().any(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
    };
    if real { bounded(text, span) } else { None }
}

fn credential(text: &str, span: Range<usize>) -> Option<Range<usize>> {
    let value = text[span.clone()].trim_end_matches(['.', '!']);
    is_random(value).then(|| span.start..span.start + value.len())
}

fn email(text: &str, span: Range<usize>) -> Option<Range<usize>> {
    const ROLES: [&str; 21] = [
        "git",
        "info",
        "support",
        "contact",
        "admin",
        "sales",
        "help",
        "hello",
        "office",
        "press",
        "noreply",
        "no-reply",
        "postmaster",
        "webmaster",
        "abuse",
        "user",
        "username",
        "name",
        "you",
        "your.name",
        "email",
    ];
    const EXAMPLES: [&str; 6] =
        ["example", "domain", "email", "company", "yourdomain", "yourcompany"];
    const NO_DOMAINS: [&str; 17] = [
        "test",
        "invalid",
        "localhost",
        "local",
        "png",
        "jpg",
        "jpeg",
        "gif",
        "svg",
        "webp",
        "pdf",
        "js",
        "ts",
        "css",
        "html",
        "json",
        "example",
    ];
    let address = text[span.clone()].to_lowercase();
    let (local, domain) = address.split_once('@')?;
    let labels: Vec<&str> = domain.split('.').collect();
    let (last, others) = labels.split_last()?;
    let made_up = others.iter().any(|label| EXAMPLES.contains(label));
    let personal = !ROLES.contains(&local) && !made_up && !NO_DOMAINS.contains(last);
    if personal { bounded(text, span) } else { None }
}

/// Checks an IBAN by ISO 13616: with its first four characters moved to the end, its
/// value is 1 modulo 97. A last group that belongs to the following text is removed.
fn iban(text: &str, span: Range<usize>) -> Option<Range<usize>> {
    const EXAMPLES: [&str; 2] = ["GB82WEST12345698765432", "DE89370400440532013000"];
    let mut end = span.end;
    loop {
        let compact = text[span.start..end].replace(' ', "");
        if compact.len() < 15 {
            return None;
        }
        let rotated = compact[4..].chars().chain(compact[..4].chars());
        let remainder = rotated.filter_map(|c| c.to_digit(36)).fold(0, |remainder, digit| {
            (remainder * if digit > 9 { 100 } else { 10 } + digit) % 97
        });
        if remainder == 1 && compact.len() <= 34 {
            let known = EXAMPLES.contains(&compact.as_str());
            return if known { None } else { bounded(text, span.start..end) };
        }
        end = span.start + text[span.start..end].rfind(' ')?;
    }
}

fn card(text: &str, span: Range<usize>) -> Option<Range<usize>> {
    const TESTS: [&str; 7] = [
        "4111111111111111",
        "4242424242424242",
        "4012888888881881",
        "5555555555554444",
        "5105105105105100",
        "378282246310005",
        "6011111111111117",
    ];
    let written = &text[span.clone()];
    let digits = digits(written);
    let separators: Vec<char> = written.chars().filter(|c| !c.is_ascii_digit()).collect();
    let uniform = separators.windows(2).all(|two| two[0] == two[1]);
    let grouped = match (digits.len(), separators.len()) {
        (_, 0) | (16, 3) | (14 | 15, 2) => uniform,
        _ => false,
    };
    let prefix = digits.iter().take(4).fold(0, |value, digit| value * 10 + digit);
    let issued = match digits.len() {
        16 => {
            matches!(prefix, 2221..=2720 | 3528..=3589 | 4000..=4999 | 5100..=5599 | 6011 | 6500..=6599)
        }
        15 => matches!(prefix, 3400..=3499 | 3700..=3799),
        14 => matches!(prefix, 3600..=3699 | 3800..=3899),
        _ => false,
    };
    let compact: String = written.chars().filter(char::is_ascii_digit).collect();
    let real = grouped && issued && luhn(&digits) && !TESTS.contains(&compact.as_str());
    if real { number(text, span) } else { None }
}

/// Verifies the check digit of ISO/IEC 7812 (Luhn).
fn luhn(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, &digit)| match (index % 2, digit * 2) {
            (0, _) => digit,
            (_, double) if double > 9 => double - 9,
            (_, double) => double,
        })
        .sum();
    sum.is_multiple_of(10)
}

fn social_security(text: &str, span: Range<usize>) -> Option<Range<usize>> {
    const KNOWN: [&str; 3] = ["078-05-1120", "219-09-9999", "123-45-6789"];
    let written = &text[span.clone()];
    let unissued = written.starts_with("000")
        || written.starts_with("666")
        || written.starts_with('9')
        || &written[4..6] == "00"
        || written.ends_with("0000");
    if unissued || KNOWN.contains(&written) { None } else { number(text, span) }
}

fn international(text: &str, span: Range<usize>) -> Option<Range<usize>> {
    let written = &text[span.clone()];
    let digits = digits(written);
    let separated = written.contains([' ', '.', '-', '(']);
    let least = if separated { 8 } else { 10 };
    if !(least..=15).contains(&digits.len()) || (digits[0] == 1 && !assigned(&digits[1..])) {
        return None;
    }
    number(text, span)
}

fn north_american(text: &str, span: Range<usize>) -> Option<Range<usize>> {
    let digits = digits(&text[span.clone()]);
    let local = &digits[digits.len() - 10..];
    if assigned(local) { number(text, span) } else { None }
}

/// Whether ten digits can be a person's number in North America. 555 is reserved for
/// fiction, and toll-free codes belong to companies and helplines.
fn assigned(digits: &[u32]) -> bool {
    let &[a, b, c, d, e, f, ..] = digits else { return false };
    let (area, exchange) = (a * 100 + b * 10 + c, d * 100 + e * 10 + f);
    let toll_free = matches!(area, 800 | 822 | 833 | 844 | 855 | 866 | 877 | 888 | 900);
    digits.len() == 10 && a > 1 && d > 1 && area != 555 && exchange != 555 && !toll_free
}

#[cfg(test)]
mod tests;
