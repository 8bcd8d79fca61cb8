use etherparse::{
    Icmpv4Type, Icmpv6Type, NetSlice, SlicedPacket, TransportSlice, icmpv4::DestUnreachableHeader,
    icmpv6::DestUnreachableCode,
};

use super::{packet, refusal};

#[test]
fn a_reply_comes_from_the_address_that_was_asked() {
    for (from, to) in
        [("192.0.2.53:53", "198.51.100.7:40000"), ("[2001:db8::53]:53", "[2001:db8:1::7]:40000")]
    {
        let bytes = packet(from.parse().unwrap(), to.parse().unwrap(), b"message").unwrap();
        let packet = SlicedPacket::from_ip(&bytes).unwrap();
        let Some(TransportSlice::Udp(udp)) = packet.transport else { panic!("no UDP") };
        let (source, destination) = match packet.net.unwrap() {
            NetSlice::Ipv4(ip) => {
                let header = ip.header().to_header();
                assert_eq!(udp.to_header().calc_checksum_ipv4(&header, b"message").unwrap(), udp.checksum());
                (ip.header().source_addr().into(), ip.header().destination_addr().into())
            }
            NetSlice::Ipv6(ip) => {
                let header = ip.header().to_header();
                assert_eq!(udp.to_header().calc_checksum_ipv6(&header, b"message").unwrap(), udp.checksum());
                (ip.header().source_addr().into(), ip.header().destination_addr().into())
            }
            NetSlice::Arp(_) => panic!("no IP"),
        };
        let text = |ip, port| std::net::SocketAddr::new(ip, port).to_string();
        assert_eq!(
            (text(source, udp.source_port()), text(destination, udp.destination_port())),
            (from.into(), to.into())
        );
        assert_eq!(udp.payload(), b"message");
    }
}

#[test]
fn a_refusal_is_that_of_the_datagram_that_was_sent() {
    for (from, to) in
        [("192.0.2.53:53", "198.51.100.7:40000"), ("[2001:db8::53]:53", "[2001:db8:1::7]:40000")]
    {
        let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
        let bytes = refusal(from, to).unwrap();
        let sent = packet(to, from, b"").unwrap();
        match SlicedPacket::from_ip(&bytes).unwrap().transport {
            Some(TransportSlice::Icmpv4(icmp)) => {
                let expected = Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Port);
                assert_eq!((icmp.icmp_type(), icmp.payload()), (expected, &sent[..]));
            }
            Some(TransportSlice::Icmpv6(icmp)) => {
                let expected = Icmpv6Type::DestinationUnreachable(DestUnreachableCode::Port);
                assert_eq!((icmp.icmp_type(), icmp.payload()), (expected, &sent[..]));
                let [source, destination] = [from, to].map(|addr| match addr.ip() {
                    std::net::IpAddr::V6(ip) => ip.octets(),
                    std::net::IpAddr::V4(_) => panic!("no IPv6"),
                });
                assert!(icmp.is_checksum_valid(source, destination));
            }
            other => panic!("no ICMP: {other:?}"),
        }
    }
}

#[test]
fn what_cannot_be_a_datagram_is_refused() {
    let (v4, v6) = ("192.0.2.53:53".parse().unwrap(), "[2001:db8::53]:53".parse().unwrap());
    assert!(packet(v4, v6, b"").is_err(), "families differ");
    assert!(packet(v4, v4, &vec![0; 65_536]).is_err(), "too long");
    assert!(refusal(v4, v6).is_err(), "families differ");
}
