use super::with_chapter;

const CAPTURE: &str = "# Capture\n\n## Speed\n\n```text\n# Samples: 3\n```\n";
const DNS: &str = "# DNS\n\nfast\n";

#[test]
fn a_chapter_takes_the_place_of_the_one_with_its_heading() {
    let both = format!("{CAPTURE}\n{DNS}");
    for (case, text, chapter, expected) in [
        ("the first", String::new(), DNS, DNS.to_owned()),
        ("a new one", CAPTURE.to_owned(), DNS, both.clone()),
        ("the last anew", both.clone(), "# DNS\n\nfaster\n\n", both.replace("fast", "faster")),
        ("the first anew", both.clone(), "# Capture\n", format!("# Capture\n\n{DNS}")),
        ("nothing new", both.clone(), CAPTURE, both.clone()),
    ] {
        assert_eq!(with_chapter(&text, chapter), expected, "{case}");
    }
}
