//! Where one document of a YAML stream ends and the next begins.
//!
//! Found before any parsing, so that what is broken in one document leaves the others whole. YAML makes it easy:
//! a line that begins with `---` or `...` is a marker wherever it stands, even inside a quoted text.

/// The text of one document, the marker that opens it included.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Document<'a> {
    /// Counted from 0, in the file.
    pub(super) first_line: u64,
    pub(super) text: &'a str,
}

/// Comments and directives belong to the document they precede: they are no document of their own.
pub(super) fn split(text: &str) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let (mut start, mut first_line, mut offset) = (0, 0, 0);
    let mut begun = false;
    for (number, line) in (0..).zip(text.split_inclusive('\n')) {
        let end = offset + line.len();
        if is_marker(line, "...") {
            if begun {
                documents.push(Document { first_line, text: &text[start..offset] });
            }
            (start, first_line, begun) = (end, number + 1, false);
        } else if is_marker(line, "---") {
            if begun {
                documents.push(Document { first_line, text: &text[start..offset] });
                (start, first_line) = (offset, number);
            }
            begun = true;
        } else if !is_preamble(line) {
            begun = true;
        }
        offset = end;
    }
    if begun {
        documents.push(Document { first_line, text: &text[start..] });
    }
    documents
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
}

fn is_preamble(line: &str) -> bool {
    let line = line.trim_end();
    line.is_empty() || line.starts_with('%') || line.trim_start().starts_with('#')
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn documents_are_found_as_yaml_defines_them() {
        for (name, text, expected) in [
            ("empty", "", &[][..]),
            ("comments only", "# a\n\n# b\n", &[]),
            ("one", "a: 1\n", &[(0, "a: 1\n")]),
            ("a comment before the first marker", "# a\n---\nb: 1", &[(0, "# a\n---\nb: 1")]),
            ("two", "a: 1\n---\nb: 1\n", &[(0, "a: 1\n"), (1, "---\nb: 1\n")]),
            ("an empty one is counted", "---\n---\nb: 1\n", &[(0, "---\n"), (1, "---\nb: 1\n")]),
            ("CRLF", "a: 1\r\n---\r\nb: 1\r\n", &[(0, "a: 1\r\n"), (1, "---\r\nb: 1\r\n")]),
            ("content after the marker", "a: 1\n--- {b: 1}\n", &[(0, "a: 1\n"), (1, "--- {b: 1}\n")]),
            ("the end marker", "a: 1\n...\n# c\n---\nb: 1\n...\n", &[(0, "a: 1\n"), (2, "# c\n---\nb: 1\n")]),
            (
                "a directive",
                "a: 1\n...\n%YAML 1.2\n---\nb: 1\n",
                &[(0, "a: 1\n"), (2, "%YAML 1.2\n---\nb: 1\n")],
            ),
            ("no marker", "a: |\n ---\n---x: 1\n", &[(0, "a: |\n ---\n---x: 1\n")]),
        ] {
            let got: Vec<_> = split(text).iter().map(|d| (d.first_line, d.text)).collect();
            assert_eq!(got, expected, "{name}");
        }
    }
}
