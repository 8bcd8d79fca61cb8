//! Small eBPF programs of somebody else, written instruction by instruction: what a CNI, a load balancer or an
//! observer may have attached where the agent attaches its own.

use std::{
    ffi::CString,
    io,
    net::{Ipv4Addr, TcpListener},
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use anyhow::{Context, Result};
use netns::Netns;
use nix::{libc, net::if_::if_nametoindex};

// `enum bpf_cmd`
const MAP_CREATE: libc::c_int = 0;
const MAP_LOOKUP: libc::c_int = 1;
const MAP_UPDATE: libc::c_int = 2;
const PROG_LOAD: libc::c_int = 5;
const OBJ_PIN: libc::c_int = 6;
const LINK_CREATE: libc::c_int = 28;

// `enum bpf_map_type`
const ARRAY: u32 = 2;
const SOCKMAP: u32 = 15;

// `enum bpf_attach_type`
const SOCK_OPS: u32 = 3;
const INET4_CONNECT: u32 = 10;
const SK_LOOKUP: u32 = 36;
const TCX_EGRESS: u32 = 47;

/// Relative to nothing: the first, or the last, of all that are attached there.
const BPF_F_BEFORE: u32 = 1 << 3;
const BPF_F_AFTER: u32 = 1 << 4;

/// What the program returns when it is content.
const PASS: i32 = 1;
const TCX_NEXT: i32 = -1;
const TCX_DROP: i32 = 2;

/// A program that is attached until this is dropped, and counts how often it runs.
#[derive(Debug)]
pub struct Attached {
    _link: OwnedFd,
    counter: OwnedFd,
    /// What it refers to.
    _maps: Vec<OwnedFd>,
}

/// Where among others at the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    First,
    Last,
}

/// Instructions; jumps are relative to the next, as the kernel counts them.
struct Code(Vec<u64>);

/// What `bpf(2)` is told: enough of `union bpf_attr` for all that is asked here.
#[repr(C)]
#[derive(Default)]
struct Attr([u32; 32]);

// === impl Attached ===

impl Attached {
    /// `cgroup/connect4`: whoever dials `from` gets `to`, as with a load balancer in the socket layer.
    pub fn connect4(cgroup: &Path, from: Ipv4Addr, to: Ipv4Addr) -> Result<Self> {
        const USER_IP4: i16 = 4;
        let counter = counter()?;
        let word = |ip: Ipv4Addr| i32::from_ne_bytes(ip.octets());
        let code = Code::counting(&counter)
            .load(1, 6, USER_IP4)
            .set32(2, word(from))
            .skip_unless_equal(1, 2, 2)
            .set32(1, word(to))
            .store(6, 1, USER_IP4)
            .returns(PASS);
        let program = load(18, INET4_CONNECT, &code)?;
        let cgroup = std::fs::File::open(cgroup)?;
        let link = attach(&program, cgroup.as_raw_fd().cast_unsigned(), INET4_CONNECT, 0)?;
        Ok(Self { _link: link, counter, _maps: Vec::new() })
    }

    /// `sock_ops`: when a connection is established, asks for no more news of it, as if nobody else had asked for any.
    pub fn sock_ops(cgroup: &Path) -> Result<Self> {
        const ACTIVE_ESTABLISHED_CB: i32 = 4;
        let counter = counter()?;
        let code = Code::counting(&counter)
            .load(1, 6, 0)
            .skip_unless_is(1, ACTIVE_ESTABLISHED_CB, 3)
            .copy(1, 6)
            .set(2, 0)
            .call(59)
            .returns(PASS);
        let program = load(13, SOCK_OPS, &code)?;
        let cgroup = std::fs::File::open(cgroup)?;
        let link = attach(&program, cgroup.as_raw_fd().cast_unsigned(), SOCK_OPS, 0)?;
        Ok(Self { _link: link, counter, _maps: Vec::new() })
    }

    /// `sk_lookup`: what comes for `port` goes to `listener`, wherever that listens. Attached after all others.
    pub fn sk_lookup(netns: &Netns, port: u16, listener: &TcpListener) -> Result<Self> {
        const LOCAL_PORT: i16 = 60;
        let counter = counter()?;
        let sockets = map(SOCKMAP, 8).context("cannot make a SOCKMAP")?;
        update(&sockets, u64::from(listener.as_raw_fd().cast_unsigned()))?;
        let code = Code::counting(&counter)
            .load(1, 6, LOCAL_PORT)
            .skip_unless_is(1, i32::from(port), 13)
            // The key, 0, is still on the stack.
            .address_of(1, &sockets)
            .copy(2, 10)
            .add(2, -4)
            .call(1)
            .skip_if_is(0, 0, 7)
            .copy(7, 0)
            .copy(1, 6)
            .copy(2, 0)
            .set(3, 0)
            .call(124)
            .copy(1, 7)
            .call(86)
            .returns(PASS);
        let program = load(30, SK_LOOKUP, &code)?;
        let link = attach(&program, netns.as_fd().as_raw_fd().cast_unsigned(), SK_LOOKUP, 0)?;
        Ok(Self { _link: link, counter, _maps: vec![sockets] })
    }

    /// TCX egress of an interface of `netns`: drops IPv4 TCP to `port`, passes on the rest.
    pub fn tcx_egress(netns: &Netns, interface: &str, port: u16, place: Place) -> Result<Self> {
        const TCP_PORT_AT: i32 = 14 + 20 + 2;
        let counter = counter()?;
        let code = Code::counting(&counter)
            .copy(1, 6)
            .set(2, TCP_PORT_AT)
            .copy(3, 10)
            .add(3, -8)
            .set(4, 2)
            .call(26)
            .skip_unless_is(0, 0, 4)
            .load16(1, 10, -8)
            .skip_unless_is(1, i32::from(port.to_be()), 2)
            .set(0, TCX_DROP)
            .exit()
            .returns(TCX_NEXT);
        let program = load(3, 0, &code)?;
        let flags = if place == Place::First { BPF_F_BEFORE } else { BPF_F_AFTER };
        let link = netns.run(|| -> Result<OwnedFd> {
            let ifindex = if_nametoindex(interface)?;
            attach(&program, ifindex, TCX_EGRESS, flags)
        })??;
        Ok(Self { _link: link, counter, _maps: Vec::new() })
    }

    /// How often it has run.
    pub fn runs(&self) -> Result<u64> {
        let (key, mut value) = (0_u32, 0_u64);
        let mut attr = Attr::default();
        attr.0[0] = self.counter.as_raw_fd().cast_unsigned();
        attr.pointer(2, &raw const key);
        attr.pointer(4, &raw mut value);
        attr.call(MAP_LOOKUP).context("cannot read the counter")?;
        Ok(value)
    }
}

// === impl Code ===

impl Code {
    /// Begins with counting, and leaves the context in r6 and a key of 0 in the last four bytes of the stack.
    fn counting(counter: &OwnedFd) -> Self {
        Self(Vec::new())
            .copy(6, 1)
            .insn(0x62, 10, 0, -4, 0)
            .address_of(1, counter)
            .copy(2, 10)
            .add(2, -4)
            .call(1)
            .skip_if_is(0, 0, 2)
            .set(1, 1)
            .insn(0xdb, 0, 1, 0, 0)
    }

    fn insn(mut self, opcode: u8, dst: u8, src: u8, offset: i16, immediate: i32) -> Self {
        let [o0, o1] = offset.to_le_bytes();
        let [i0, i1, i2, i3] = immediate.to_le_bytes();
        self.0.push(u64::from_le_bytes([opcode, src << 4 | dst, o0, o1, i0, i1, i2, i3]));
        self
    }

    fn copy(self, to: u8, from: u8) -> Self {
        self.insn(0xbf, to, from, 0, 0)
    }

    fn set(self, register: u8, value: i32) -> Self {
        self.insn(0xb7, register, 0, 0, value)
    }

    /// The upper half becomes 0.
    fn set32(self, register: u8, value: i32) -> Self {
        self.insn(0xb4, register, 0, 0, value)
    }

    fn add(self, register: u8, value: i32) -> Self {
        self.insn(0x07, register, 0, 0, value)
    }

    fn load(self, to: u8, from: u8, offset: i16) -> Self {
        self.insn(0x61, to, from, offset, 0)
    }

    fn load16(self, to: u8, from: u8, offset: i16) -> Self {
        self.insn(0x69, to, from, offset, 0)
    }

    fn store(self, to: u8, from: u8, offset: i16) -> Self {
        self.insn(0x63, to, from, offset, 0)
    }

    fn address_of(self, register: u8, map: &OwnedFd) -> Self {
        self.insn(0x18, register, 1, 0, map.as_raw_fd()).insn(0, 0, 0, 0, 0)
    }

    fn call(self, helper: i32) -> Self {
        self.insn(0x85, 0, 0, 0, helper)
    }

    fn skip_if_is(self, register: u8, value: i32, instructions: i16) -> Self {
        self.insn(0x15, register, 0, instructions, value)
    }

    fn skip_unless_is(self, register: u8, value: i32, instructions: i16) -> Self {
        self.insn(0x55, register, 0, instructions, value)
    }

    fn skip_unless_equal(self, one: u8, other: u8, instructions: i16) -> Self {
        self.insn(0x5d, one, other, instructions, 0)
    }

    fn exit(self) -> Self {
        self.insn(0x95, 0, 0, 0, 0)
    }

    fn returns(self, value: i32) -> Self {
        self.set(0, value).exit()
    }
}

// === impl Attr ===

impl Attr {
    /// Puts an address where two words hold it.
    fn pointer<T>(&mut self, at: usize, to: *const T) {
        let address = to as u64;
        self.0[at] = u32::try_from(address & 0xffff_ffff).unwrap_or_default();
        self.0[at + 1] = u32::try_from(address >> 32).unwrap_or_default();
    }

    fn call(&mut self, command: libc::c_int) -> io::Result<libc::c_int> {
        let attr = (&raw mut self.0).cast::<libc::c_void>();
        // SAFETY: `attr` holds as many bytes as the kernel is told; what it points to outlives the call.
        let done = unsafe { libc::syscall(libc::SYS_bpf, command, attr, size_of::<Self>()) };
        if done < 0 {
            return Err(io::Error::last_os_error());
        }
        libc::c_int::try_from(done).map_err(io::Error::other)
    }

    /// For commands that make something.
    fn make(&mut self, command: libc::c_int) -> io::Result<OwnedFd> {
        let fd = self.call(command)?;
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

/// Leaves an array with one entry where somebody expects another kind of map.
pub fn pin_array(path: &Path) -> Result<()> {
    let array = map(ARRAY, 8).context("cannot make an array")?;
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = Attr::default();
    attr.pointer(0, name.as_ptr());
    attr.0[2] = array.as_raw_fd().cast_unsigned();
    attr.call(OBJ_PIN).with_context(|| format!("cannot pin an array at {}", path.display()))?;
    Ok(())
}

fn counter() -> Result<OwnedFd> {
    map(ARRAY, 8).context("cannot make a counter")
}

/// A map with one entry.
fn map(kind: u32, value_size: u32) -> io::Result<OwnedFd> {
    let mut attr = Attr::default();
    attr.0[..4].copy_from_slice(&[kind, 4, value_size, 1]);
    attr.make(MAP_CREATE)
}

fn update(map: &OwnedFd, value: u64) -> Result<()> {
    let key = 0_u32;
    let mut attr = Attr::default();
    attr.0[0] = map.as_raw_fd().cast_unsigned();
    attr.pointer(2, &raw const key);
    attr.pointer(4, &raw const value);
    attr.call(MAP_UPDATE).context("cannot put a socket into a map")?;
    Ok(())
}

fn load(kind: u32, expected: u32, code: &Code) -> Result<OwnedFd> {
    let mut log = vec![0_u8; 64 << 10];
    let mut attr = Attr::default();
    attr.0[..2].copy_from_slice(&[kind, u32::try_from(code.0.len())?]);
    attr.pointer(2, code.0.as_ptr());
    attr.pointer(4, c"GPL".as_ptr());
    attr.0[6] = 1;
    attr.0[7] = u32::try_from(log.len())?;
    attr.pointer(8, log.as_mut_ptr());
    // The name: `stranger`.
    attr.0[12..14].copy_from_slice(&[u32::from_ne_bytes(*b"stra"), u32::from_ne_bytes(*b"nger")]);
    attr.0[17] = expected;
    let loaded = attr.make(PROG_LOAD);
    loaded.with_context(|| {
        format!("the kernel refuses a program: {}", String::from_utf8_lossy(&log).trim_end_matches('\0'))
    })
}

fn attach(program: &OwnedFd, target: u32, kind: u32, flags: u32) -> Result<OwnedFd> {
    let mut attr = Attr::default();
    attr.0[..4].copy_from_slice(&[program.as_raw_fd().cast_unsigned(), target, kind, flags]);
    attr.make(LINK_CREATE).context("cannot attach a program")
}
