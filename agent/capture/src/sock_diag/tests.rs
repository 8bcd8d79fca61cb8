use super::*;

/// A message with an empty body: an end, or an acknowledgement.
fn message(kind: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + body.len()).unwrap();
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend([0; 10]);
    bytes.extend(body);
    bytes
}

#[test]
fn a_datagram_holds_several_messages() {
    const NLMSG_NOOP: u16 = 1;
    const NLMSG_DONE: u16 = 3;
    let bytes = [message(NLMSG_NOOP, &[]), message(NLMSG_DONE, &[0; 4])].concat();
    let payloads: Vec<_> = messages(&bytes).map(|message| message.unwrap().payload).collect();
    assert!(matches!(payloads[..], [NetlinkPayload::Noop, NetlinkPayload::Done(_)]), "{payloads:?}");
}

#[test]
fn what_cannot_be_read_ends_the_datagram() {
    let results: Vec<_> = messages(&[1, 2, 3]).collect();
    assert!(matches!(results[..], [Err(_)]), "{results:?}");
}
