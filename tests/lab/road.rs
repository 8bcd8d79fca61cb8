//! The ways that a connection can take from one pod to another, and connections of which the test holds both
//! ends.

use std::{
    fs,
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    time::Duration,
};

use harness::{Agent, AgentOptions, Lab, Node, Pod};
use socket2::{Domain, SockRef, Socket, Type};

use crate::mesh::{Mesh, NAMESPACE};

/// Two nodes with an agent each, and pods for every road.
pub(crate) struct Roads {
    pub(crate) all: Vec<Road>,
    pub(crate) far_agent: Agent,
    // Last: it takes down what the others are in.
    pub(crate) mesh: Mesh,
}

pub(crate) struct Road {
    pub(crate) name: &'static str,
    pub(crate) client: Pod,
    pub(crate) server: Pod,
}

/// A connection from one end to the other, both ours. Neither waits for ever.
pub(crate) struct Pair {
    /// For messages: road and family.
    pub(crate) name: String,
    pub(crate) client: TcpStream,
    pub(crate) server: TcpStream,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Client,
    Server,
}

/// Longer than anything takes that is not broken, in an emulated machine too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

// === impl Mesh ===

impl Mesh {
    /// Labelled, with an agent that reads this configuration.
    pub(crate) fn configured(name: &str, config: &str) -> Self {
        let lab = Lab::new(name).unwrap();
        let node = lab.node("a").unwrap();
        let agent = agent(&node, config);
        let mesh = Self { agent, node, lab };
        mesh.label(Some("ambient"));
        mesh
    }
}

pub(crate) fn agent(node: &Node, config: &str) -> Agent {
    let path = node.run_dir().with_file_name("config.yaml");
    fs::write(&path, config).unwrap();
    node.agent(AgentOptions::default().arg("--log-json").arg("--config").arg(path.to_str().unwrap())).unwrap()
}

// === impl Roads ===

impl Roads {
    pub(crate) fn new(name: &str) -> Self {
        Self::configured(name, "{}")
    }

    pub(crate) fn configured(name: &str, config: &str) -> Self {
        let mesh = Mesh::configured(name, config);
        let far_node = mesh.lab.node("b").unwrap();
        let far_agent = agent(&far_node, config);
        let (client, near) = (mesh.pod("client"), mesh.pod("near"));
        let far = far_node.pod(NAMESPACE, "far").start().unwrap();
        far_agent.wait_captured(&far).unwrap();
        let (stranger, other) = (mesh.stranger("stranger"), mesh.stranger("other"));
        let road =
            |name, client: &Pod, server: &Pod| Road { name, client: client.clone(), server: server.clone() };
        let all = vec![
            // What is true without a proxy must be true with one: the first checks the test itself.
            road("no proxy", &stranger, &other),
            road("one hop on one node", &client, &near),
            road("a proxy on each node", &client, &far),
            road("outbound only", &client, &other),
            road("inbound only", &stranger, &near),
        ];
        Self { all, far_agent, mesh }
    }

    /// A connection of each family over every road.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = Pair> {
        self.all.iter().flat_map(|road| road.server.ips().into_iter().map(|ip| road.connect(ip)))
    }
}

// === impl Road ===

impl Road {
    /// Connects to a port that nobody else listens on.
    pub(crate) fn connect(&self, ip: IpAddr) -> Pair {
        let listener = listen(&self.server, SocketAddr::new(ip, 0));
        let addr = listener.local_addr().unwrap().as_socket().unwrap();
        let client = connect(&self.client, addr).unwrap();
        let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
        Pair { name: format!("{}, {family}", self.name), client, server: accept(&listener) }
    }
}

/// A listener inside a pod.
pub(crate) fn listen(pod: &Pod, addr: SocketAddr) -> Socket {
    let listener = pod.exec(|| -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
        socket.bind(&addr.into())?;
        socket.listen(128)?;
        Ok(socket)
    });
    let listener = listener.unwrap().unwrap();
    // `accept` keeps to it as well.
    listener.set_read_timeout(Some(PATIENCE)).unwrap();
    listener
}

#[track_caller]
pub(crate) fn accept(listener: &Socket) -> TcpStream {
    impatient(listener.accept().unwrap().0.into())
}

/// A connection from inside a pod.
pub(crate) fn connect(pod: &Pod, addr: SocketAddr) -> io::Result<TcpStream> {
    pod.exec(|| TcpStream::connect(addr)).unwrap().map(impatient)
}

fn impatient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

// === impl Pair ===

impl Pair {
    /// The end that acts first, and the other.
    pub(crate) fn split(self, first: End) -> (TcpStream, TcpStream) {
        match first {
            End::Client => (self.client, self.server),
            End::Server => (self.server, self.client),
        }
    }
}

/// Closes with a reset instead of an orderly end.
pub(crate) fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

/// Reads just this much, and compares.
#[track_caller]
pub(crate) fn expect(mut stream: &TcpStream, bytes: &[u8], what: &str) {
    let mut read = vec![0; bytes.len()];
    stream.read_exact(&mut read).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(read, bytes, "{what}");
}

/// Sends one way and expects it at the other end.
#[track_caller]
pub(crate) fn carry(mut from: &TcpStream, to: &TcpStream, bytes: &[u8], what: &str) {
    from.write_all(bytes).unwrap_or_else(|e| panic!("{what}: {e}"));
    expect(to, bytes, what);
}

/// Reads to the orderly end.
#[track_caller]
pub(crate) fn rest(mut stream: &TcpStream, what: &str) -> Vec<u8> {
    let mut read = Vec::new();
    stream.read_to_end(&mut read).unwrap_or_else(|e| panic!("{what}: {e}"));
    read
}
