//! Messages of all kinds, and what becomes of them by chance: nothing panics, nothing takes long, and what is answered
//! can be read. The same files start the fuzzer (`tests/fuzz`).
#![expect(clippy::unwrap_used, reason = "a test")]

use std::{
    env, fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use dns::Transport;

mod hostile;

/// For one seed, on a loaded machine and without optimisation. Most take less than a millisecond.
const BOUND: Duration = Duration::from_secs(1);
/// More of them: `MILLSTREAM_MUTATIONS=10000000 cargo test --release -p dns --test seeds`.
const MUTATIONS: u64 = 200_000;

fn seeds() -> Vec<(PathBuf, Vec<u8>)> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/seeds");
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn no_seed_does_harm() {
    let (cluster, search) = (hostile::cluster(), hostile::search());
    let mut answered = Vec::new();
    for (path, message) in seeds() {
        let begun = Instant::now();
        for transport in [Transport::Udp, Transport::Tcp] {
            if hostile::check(&cluster, &search, &message, transport) && transport == Transport::Udp {
                answered.push(path.file_stem().unwrap().to_str().unwrap().to_owned());
            }
        }
        assert!(begun.elapsed() < BOUND, "{} took {:?}", path.display(), begun.elapsed());
    }
    answered.sort();
    assert_eq!(
        answered,
        [
            "a",
            "aaaa",
            "alias",
            "alias-search",
            "all-flags",
            "backslash-in-label",
            "edns",
            "edns-cookie",
            "edns-dnssec",
            "edns-many-options",
            "edns-size-0",
            "edns-subnet",
            "endpoint",
            "headless",
            "headless-edns",
            "idn",
            "label-63",
            "labels-in-wildcard",
            "labels-searched",
            "name-254",
            "search",
            "short-name",
            "star-host",
            "trailing-bytes",
            "upper-case",
            "wildcard"
        ]
    );
}

/// As long as a message can be: labels that end nowhere, options without end, a pointer at every place of one.
#[test]
fn the_longest_messages_do_no_harm() {
    let (cluster, search) = (hostile::cluster(), hostile::search());
    let asked = &seeds().into_iter().find(|(path, _)| path.ends_with("edns.bin")).unwrap().1;
    for filler in [[0, 0, 0, 0], [0xff; 4], [1, b'a', 1, b'a'], [0xfd, 0xe9, 0, 0], [0xc0, 0x0c, 0xc0, 0x0c]]
    {
        for start in 12..=asked.len() {
            let mut message = asked[..start].to_vec();
            message.extend(filler.iter().cycle().take(65_535 - start));
            let begun = Instant::now();
            hostile::check(&cluster, &search, &message, Transport::Tcp);
            assert!(begun.elapsed() < BOUND, "{filler:?} from {start} on took {:?}", begun.elapsed());
        }
    }
}

#[test]
fn seeds_that_are_cut_off_do_no_harm() {
    let (cluster, search) = (hostile::cluster(), hostile::search());
    for (_, message) in seeds().iter().filter(|(_, message)| message.len() < 1_000) {
        for end in 0..message.len() {
            hostile::check(&cluster, &search, &message[..end], Transport::Udp);
        }
    }
}

#[test]
fn seeds_that_are_changed_by_chance_do_no_harm() {
    let (cluster, search) = (hostile::cluster(), hostile::search());
    let seeds: Vec<_> = seeds().into_iter().map(|(_, m)| m).filter(|m| m.len() < 1_000).collect();
    let rounds = env::var("MILLSTREAM_MUTATIONS").map_or(MUTATIONS, |rounds| rounds.parse().unwrap());
    let mut random = fastrand::Rng::with_seed(53);
    let mut answered = 0_u64;
    for _ in 0..rounds {
        let mut message = seeds[random.usize(..seeds.len())].clone();
        for _ in 0..random.usize(1..4) {
            mutate(&mut message, &seeds, &mut random);
        }
        let transport = if random.bool() { Transport::Udp } else { Transport::Tcp };
        answered += u64::from(hostile::check(&cluster, &search, &message, transport));
    }
    // Else most would be refused before anything of interest is done.
    assert!(rounds / 20 < answered, "{answered} of {rounds} answered");
}

/// What breaks parsers: lengths, counts and pointers that are nearly right.
fn mutate(message: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut fastrand::Rng) {
    const TELLING: [u8; 10] = [0, 1, 0x0c, 0x29, 0x3f, 0x40, 0x7f, 0x80, 0xc0, 0xff];
    let at = random.usize(..=message.len());
    match random.u8(..6) {
        0 if at < message.len() => message[at] ^= 1 << random.u8(..8),
        1 if at < message.len() => message[at] = random.choice(TELLING).unwrap(),
        2 => message.truncate(at),
        3 => message.insert(at, random.choice(TELLING).unwrap()),
        4 => {
            let other = &seeds[random.usize(..seeds.len())];
            message.truncate(at);
            message.extend(&other[random.usize(..=other.len())..]);
        }
        _ => message.extend((0..random.usize(..32)).map(|_| random.u8(..))),
    }
}
