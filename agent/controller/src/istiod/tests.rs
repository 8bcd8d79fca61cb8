use super::*;

const PLACE: &str = "ConfigMap istio-system/istio-ip-autoallocate";

fn record(holder: &str, renewed: &str) -> String {
    format!(
        r#"{{"holderIdentity":"{holder}","holderKey":"default","leaseDurationSeconds":30,"renewTime":"{renewed}"}}"#
    )
}

#[test]
fn istiod_runs_while_its_lock_is_renewed() {
    let (held, renewed, released) = (record("istiod-a", "1"), record("istiod-a", "2"), record("", "3"));
    // At each second what there was, or that nobody could look.
    let (none, failed) = (Some(None), None);
    for (name, looks, expected) in [
        ("no lock", vec![(0, none)], false),
        ("a lock", vec![(0, Some(Some(&held)))], true),
        ("released", vec![(0, Some(Some(&held))), (5, Some(Some(&released)))], false),
        ("deleted", vec![(0, Some(Some(&held))), (5, none)], false),
        (
            "renewed",
            vec![(0, Some(Some(&held))), (30, Some(Some(&renewed))), (64, Some(Some(&renewed)))],
            true,
        ),
        ("left behind", vec![(0, Some(Some(&held))), (35, Some(Some(&held)))], false),
        ("not looked at", vec![(0, Some(Some(&held))), (5, failed), (40, Some(Some(&held)))], true),
        ("back", vec![(0, Some(Some(&held))), (35, Some(Some(&held))), (99, Some(Some(&renewed)))], true),
    ] {
        let (mut seen, begun) = (Seen::default(), Instant::now());
        let mut runs = Runs::Unknown;
        for (second, look) in looks {
            match look {
                None => seen.begin_anew(),
                Some(there) => {
                    let held = there.and_then(|record| of_record(record));
                    let locks = held.map(|held| (PLACE.to_owned(), held)).into_iter().collect();
                    runs = seen.note(locks, begun + Duration::from_secs(second));
                }
            }
        }
        assert_eq!(matches!(runs, Runs::Yes(_)), expected, "{name}: {runs}");
    }
}

#[test]
fn a_lock_of_another_form_is_held_by_somebody() {
    for (record, expected) in [
        (r#"{"holderIdentity":"istiod-a"}"#, Some("istiod-a")),
        (r#"{"holderIdentity":""}"#, None),
        ("{}", None),
        ("istiod", Some("somebody unknown")),
        (r#"{"holderIdentity":7}"#, Some("somebody unknown")),
    ] {
        assert_eq!(of_record(record).map(|held| held.holder).as_deref(), expected, "{record}");
    }
}
