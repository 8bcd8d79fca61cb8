use model::Visibility;

use super::visibility;

#[test]
fn who_sees_a_service() {
    for (written, expected) in [
        (&[][..], Ok(None)),
        (&["*"], Ok(None)),
        (&["."], Ok(Some(&["shop"][..]))),
        (&["~"], Ok(Some(&[]))),
        (&[".", " bank "], Ok(Some(&["bank", "shop"]))),
        (&["bank", "bank"], Ok(Some(&["bank"]))),
        (&["*", "."], Err("f: * cannot stand beside another")),
        (&[".", "~"], Err("f: ~ cannot stand beside another")),
        (&[""], Err("f: \"\" is not one of ., *, ~ and the name of a namespace")),
        (&["Bank"], Err("f: \"Bank\" is not one of ., *, ~ and the name of a namespace")),
    ] {
        let got = visibility("f", written.iter().copied(), "shop").map_err(|invalid| invalid.to_string());
        let expected = expected.map_err(str::to_owned).map(|namespaces| match namespaces {
            Some(namespaces) => Visibility::Namespaces(namespaces.iter().map(|&n| n.into()).collect()),
            None => Visibility::Everywhere,
        });
        assert_eq!(got, expected, "{written:?}");
    }
}
