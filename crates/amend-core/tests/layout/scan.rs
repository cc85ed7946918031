//! Reads Rust source as tokens: enough to find modules, paths, types and matches, without
//! a parser's compile time.

/// A token and the line it is on. A literal's text is `"`, whatever it holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Token<'a> {
    pub text: &'a str,
    pub line: usize,
}

/// Splits `source` into identifiers, literals and punctuation, without comments. `::` and
/// `=>` are one token each; all other punctuation is one character each.
pub fn tokens(source: &str) -> Vec<Token<'_>> {
    let bytes = source.as_bytes();
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let first_line = line;
        let rest = &source[at..];
        let text = if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        } else if rest.starts_with("/*") {
            at += block_comment(rest);
            line += lines(&source[start..at]);
            continue;
        } else if let Some(length) = literal(rest) {
            at += length;
            "\""
        } else if is_word(bytes[at]) {
            at += rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            &source[start..at]
        } else if rest.starts_with("::") || rest.starts_with("=>") {
            at += 2;
            &source[start..at]
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
            &source[start..at]
        };
        line += lines(&source[start..at]);
        if !text.trim().is_empty() {
            tokens.push(Token { text, line: first_line });
        }
    }
    tokens
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn lines(text: &str) -> usize {
    text.matches('\n').count()
}

/// The length of the block comment that `text` starts with.
fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at
}

/// The length of the string, byte string or character that `text` starts with.
fn literal(text: &str) -> Option<usize> {
    let unprefixed = text.trim_start_matches(['b', 'c']);
    if text.len() - unprefixed.len() <= 1 {
        let prefix = text.len() - unprefixed.len();
        if let Some(raw) = unprefixed.strip_prefix('r') {
            let hashes = raw.len() - raw.trim_start_matches('#').len();
            if raw[hashes..].starts_with('"') {
                let end = format!("\"{}", "#".repeat(hashes));
                let body = &raw[hashes + 1..];
                let length = body.find(&end)? + end.len();
                return Some(prefix + 1 + hashes + 1 + length);
            }
        }
        if let Some(body) = unprefixed.strip_prefix('"') {
            return Some(prefix + 1 + closing(body, b'"')?);
        }
        if let Some(body) = unprefixed.strip_prefix('\'') {
            let mut characters = body.chars();
            let first = characters.next()?;
            // Anything else after the quote is a lifetime.
            if first == '\\' || characters.next() == Some('\'') {
                return Some(prefix + 1 + closing(body, b'\'')?);
            }
        }
    }
    None
}

/// The length of `body` up to and including its first unescaped `quote`.
fn closing(body: &str, quote: u8) -> Option<usize> {
    let bytes = body.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'\\' {
            at += 1;
        } else if bytes[at] == quote {
            return Some(at + 1);
        }
        at += 1;
    }
    None
}

/// Tokens without the items under `#[cfg(test)]`, and the names of the modules among these
/// items that are in files of their own.
pub fn without_tests<'a>(tokens: &[Token<'a>]) -> (Vec<Token<'a>>, Vec<&'a str>) {
    let mut kept = Vec::new();
    let mut modules = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match attribute(&tokens[at..]) {
            Some(length) if is_test(&tokens[at..at + length]) => {
                let end = at + length + item(&tokens[at + length..]);
                let skipped = &tokens[at + length..end];
                let name = skipped.iter().position(|token| token.text == "mod");
                if let (Some(name), Some(";")) = (name, skipped.last().map(|token| token.text)) {
                    modules.push(skipped[name + 1].text);
                }
                at = end;
            }
            Some(length) => {
                kept.extend_from_slice(&tokens[at..at + length]);
                at += length;
            }
            None => {
                kept.push(tokens[at]);
                at += 1;
            }
        }
    }
    (kept, modules)
}

/// The number of tokens in the attribute that `tokens` start with.
fn attribute(tokens: &[Token]) -> Option<usize> {
    let open = match tokens {
        [hash, open, ..] if hash.text == "#" && open.text == "[" => 1,
        [hash, bang, open, ..] if hash.text == "#" && bang.text == "!" && open.text == "[" => 2,
        _ => return None,
    };
    Some(group(tokens, open) + 1)
}

fn is_test(attribute: &[Token]) -> bool {
    let has = |text| attribute.iter().any(|token| token.text == text);
    has("cfg") && has("test") && !has("not")
}

/// The index of the token that closes the bracket at `open`, or of the last token.
pub fn group(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len().saturating_sub(1)
}

/// The number of tokens in the item that `tokens` start with, its attributes included.
fn item(tokens: &[Token]) -> usize {
    let mut at = 0;
    while let Some(length) = attribute(&tokens[at..]) {
        at += length;
    }
    let mut is_use = false;
    let mut is_item = false;
    while at < tokens.len() {
        match tokens[at].text {
            "use" => is_use = true,
            "mod" | "fn" | "impl" | "struct" | "enum" | "trait" | "type" | "const" | "static" => {
                is_item = true;
            }
            ";" => return at + 1,
            // A field, a variant or an arm ends here.
            "," if !is_item && !is_use => return at + 1,
            "}" => return at,
            "{" if !is_use => return group(tokens, at) + 1,
            "(" | "[" | "{" => at = group(tokens, at),
            _ => {}
        }
        at += 1;
    }
    at
}

/// A path that code names from the root of its crate, and the line it is on.
#[derive(Debug, PartialEq)]
pub struct Path<'a> {
    pub segments: Vec<&'a str>,
    pub line: usize,
}

/// Every `crate::`, `super::` and `self::` path in the file of `module`, from the root of
/// the crate. An imported tree gives a path for each of its leaves.
pub fn paths<'a>(tokens: &[Token<'a>], module: &[&'a str]) -> Vec<Path<'a>> {
    let mut paths = Vec::new();
    let mut inline: Vec<(usize, &str)> = Vec::new();
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        let text_at = |at: usize| tokens.get(at).map_or("", |token| token.text);
        match token.text {
            "{" => {
                depth += 1;
                if at >= 2 && text_at(at - 2) == "mod" {
                    inline.push((depth, text_at(at - 1)));
                }
            }
            "}" => {
                inline.pop_if(|(opened, _)| *opened == depth);
                depth -= 1;
            }
            "crate" | "super" | "self"
                if text_at(at + 1) == "::" && (at == 0 || text_at(at - 1) != "::") =>
            {
                let mut segments = module.to_vec();
                segments.extend(inline.iter().map(|(_, name)| name));
                match token.text {
                    "crate" => segments.clear(),
                    "super" => drop(segments.pop()),
                    _ => {}
                }
                tree(tokens, at + 2, segments, &mut paths);
            }
            _ => {}
        }
    }
    paths
}

/// Adds the leaves of the tree at `at`, all below `segments`. Returns where the tree ends.
fn tree<'a>(
    tokens: &[Token<'a>],
    mut at: usize,
    mut segments: Vec<&'a str>,
    paths: &mut Vec<Path<'a>>,
) -> usize {
    while let Some(&Token { text, line }) = tokens.get(at) {
        match text {
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token.text != "}") {
                    at = tree(tokens, at, segments.clone(), paths);
                    while tokens.get(at).is_some_and(|token| !matches!(token.text, "," | "}")) {
                        at += 1;
                    }
                    if tokens.get(at).is_some_and(|token| token.text == ",") {
                        at += 1;
                    }
                }
                return at + 1;
            }
            "self" => {}
            "super" => drop(segments.pop()),
            _ if is_word(text.as_bytes()[0]) => segments.push(text),
            _ => {
                paths.push(Path { segments, line });
                return at;
            }
        }
        at += 1;
        if tokens.get(at).is_none_or(|token| token.text != "::") {
            paths.push(Path { segments, line });
            return at;
        }
        at += 1;
    }
    at
}

/// The modules that a file declares, inline ones included.
pub fn declared_modules<'a>(tokens: &[Token<'a>]) -> Vec<&'a str> {
    let pairs = tokens.windows(3);
    pairs
        .filter(|three| three[0].text == "mod" && matches!(three[2].text, ";" | "{"))
        .map(|three| three[1].text)
        .collect()
}

/// The names of the types that a file defines as `pub`.
pub fn public_types<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let mut types = Vec::new();
    for three in tokens.windows(3) {
        let is_type = matches!(three[1].text, "struct" | "enum" | "trait" | "type" | "union");
        // `$` starts a name that a macro is given.
        if three[0].text == "pub" && is_type && three[2].text != "$" {
            types.push(three[2]);
        }
    }
    types
}

/// The `_` arms of every match that has an arm for a variant of one of `enums`, written
/// `Enum::…`, and the enum's name.
pub fn wildcards<'a>(tokens: &[Token<'a>], enums: &[&str]) -> Vec<(&'a str, usize)> {
    let mut wildcards = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if token.text != "match" {
            continue;
        }
        let Some(open) = scrutinee_end(tokens, at + 1) else { continue };
        let end = group(tokens, open);
        let mut matched = None;
        let mut wildcard = None;
        let mut arm = open + 1;
        while arm < end {
            let mut arrow = arm;
            while arrow < end && tokens[arrow].text != "=>" {
                arrow = match tokens[arrow].text {
                    "(" | "[" | "{" => group(tokens, arrow) + 1,
                    _ => arrow + 1,
                };
            }
            let pattern = &tokens[arm..arrow];
            if let [name, colons, ..] = pattern
                && enums.contains(&name.text)
                && colons.text == "::"
            {
                matched = Some(name.text);
            }
            if let [only] = pattern
                && only.text == "_"
            {
                wildcard = Some(only.line);
            }
            arm = arm_end(tokens, arrow + 1, end);
        }
        if let (Some(matched), Some(line)) = (matched, wildcard) {
            wildcards.push((matched, line));
        }
    }
    wildcards
}

/// The index of the brace that opens the body of a match whose scrutinee is at `at`.
fn scrutinee_end(tokens: &[Token], mut at: usize) -> Option<usize> {
    loop {
        match tokens.get(at)?.text {
            "{" => return Some(at),
            "(" | "[" => at = group(tokens, at) + 1,
            // `match` as a word in a macro or a path.
            ";" | "," | ")" | "}" => return None,
            _ => at += 1,
        }
    }
}

/// The index after the arm whose body is at `at`.
fn arm_end(tokens: &[Token], mut at: usize, end: usize) -> usize {
    let is_block = tokens[at].text == "{";
    while at < end && tokens[at].text != "," {
        at = match tokens[at].text {
            "(" | "[" | "{" => group(tokens, at) + 1,
            _ => at + 1,
        };
        if is_block {
            let comma = tokens.get(at).is_some_and(|token| token.text == ",");
            return at + usize::from(comma);
        }
    }
    at + 1
}
