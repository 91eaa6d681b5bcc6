//! The examples in a piece of documentation, and what their visible lines name.

/// The blocks in fences: what stands behind the opening fence, and the lines within.
pub(crate) fn fences(docs: &str) -> Vec<(String, Vec<String>)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, Vec<String>)> = None;
    for line in docs.lines() {
        let Some(info) = line.trim_start().strip_prefix("```") else {
            if let Some((_, lines)) = &mut open {
                lines.push(line.to_owned());
            }
            continue;
        };
        match open.take() {
            Some(block) => blocks.push(block),
            None => open = Some((info.trim().to_owned(), Vec::new())),
        }
    }
    blocks
}

/// The examples that are compiled, with the lines that a reader sees.
pub(crate) fn examples(docs: &str) -> Vec<String> {
    let compiled = fences(docs).into_iter().filter(|(info, _)| {
        let mut words = info.split([',', ' ']).filter(|word| !word.is_empty());
        words.all(|word| {
            matches!(word, "rust" | "no_run" | "should_panic") || word.starts_with("edition")
        })
    });
    let visible = compiled.map(|(_, lines)| {
        let shown = lines.iter().filter(|line| {
            let line = line.trim();
            line != "#" && !line.starts_with("# ")
        });
        shown.map(|line| format!("{line}\n")).collect::<String>()
    });
    visible.filter(|example| !example.trim().is_empty()).collect()
}

/// The words and signs of a piece of Rust, without comments and texts.
pub(crate) struct Words(Vec<String>);

impl Words {
    pub(crate) fn of(code: &str) -> Self {
        let mut words = Vec::new();
        let mut rest = code;
        while let Some(first) = rest.chars().next() {
            let length = if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if let Some(length) = text(rest) {
                length
            } else if first.is_alphanumeric() || first == '_' {
                let end = |c: char| !(c.is_alphanumeric() || c == '_');
                let length = rest.find(end).unwrap_or(rest.len());
                words.push(rest[..length].to_owned());
                length
            } else {
                if !first.is_whitespace() {
                    words.push(first.to_string());
                }
                first.len_utf8()
            };
            rest = &rest[length..];
        }
        Self(words)
    }

    /// Whether these follow one another somewhere.
    pub(crate) fn has(&self, wanted: &[&str]) -> bool {
        self.0.windows(wanted.len()).any(|words| words == wanted)
    }

    /// Whether there is `holder::name`, or the same with the types that the holder is of.
    pub(crate) fn has_path(&self, holder: &str, name: &str) -> bool {
        self.has(&[holder, ":", ":", name]) || self.has(&[">", ":", ":", name])
    }
}

/// The length of the literal that the code begins with: a string, or one character.
fn text(code: &str) -> Option<usize> {
    for raw in ["r", "br"] {
        if let Some(rest) = code.strip_prefix(raw)
            && let hashes = rest.len() - rest.trim_start_matches('#').len()
            && rest[hashes..].starts_with('"')
        {
            let end = format!("\"{}", "#".repeat(hashes));
            let begin = raw.len() + hashes + 1;
            let length = code[begin..].find(&end)?;
            return Some(begin + length + end.len());
        }
    }
    let quote = code.chars().next().filter(|first| matches!(first, '"' | '\''))?;
    let mut escaped = false;
    for (at, c) in code.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return Some(at + 1),
            // A lifetime: its quote is not closed.
            _ if quote == '\'' && at > 1 && !code.starts_with("'\\") => return None,
            _ => {}
        }
    }
    None
}
