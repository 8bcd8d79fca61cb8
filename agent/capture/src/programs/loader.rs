//! From the object file to programs in the kernel, over the node's pinned maps.

use abi::{Instance, name};
use aya::{
    Ebpf, EbpfLoader, include_bytes_aligned,
    maps::Array,
    programs::{Program, ProgramError},
};
use model::Marks;

use crate::{Config, Error, pid_namespace, verifier};

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/programs.o"));

/// The maps that all instances of a node share.
const SHARED: [&str; 15] = [
    name::PODS,
    name::ADDRESSES,
    name::EXCLUSIONS,
    name::REGISTRY,
    name::LISTENERS,
    name::AGENTS,
    name::PULSE,
    name::ADMITTED,
    name::STOPS,
    name::PROBERS,
    name::DIALLING,
    name::PROBES,
    name::COUNTERS,
    name::AYA_LOGS,
    name::VERDICTS,
];

/// Makes instances. One for all of them: aya reads the kernel's BTF for each loader, which takes 30 ms, though no
/// relocation of ours asks for it.
#[derive(Debug)]
pub(super) struct Loader {
    loader: EbpfLoader<'static>,
    marks: Marks,
}

// === impl Loader ===

impl Loader {
    pub(super) fn new(config: &Config) -> Self {
        let mut loader = EbpfLoader::new();
        loader.btf(None);
        for map in SHARED {
            loader.map_pin_path(map, config.pins.map(map));
        }
        loader.override_global(name::PID_NAMESPACE, pid_namespace::named(), true);
        Self { loader, marks: config.steering.marks }
    }

    /// An instance for one namespace: a pod's, or that of the node. Nothing is attached yet.
    pub(super) fn load(&mut self, netns_cookie: u64) -> Result<Ebpf, Error> {
        if OBJECT.is_empty() {
            return Err(Error::NoObject);
        }
        let mut object = self.loader.load(OBJECT)?;
        let Marks { captured, agent } = self.marks;
        let instance = Instance { netns_cookie, mark_captured: captured, mark_agent: agent };
        let failed = |source| Error::Map { op: "write", map: name::INSTANCE, source };
        let map = object.map_mut(name::INSTANCE).ok_or(Error::NoObject)?;
        Array::try_from(map).and_then(|mut map| map.set(0, instance, 0)).map_err(failed)?;
        Ok(object)
    }
}

/// A program of the object, for which the verifier is asked the first time.
pub(super) fn loaded<'a, P>(
    object: &'a mut Ebpf,
    name: &'static str,
    config: &Config,
) -> Result<&'a mut P, Error>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    let program = object.program_mut(name).ok_or(Error::NoObject)?;
    if program.fd().is_err() {
        verifier::load(program, name, &config.verifier_logs)?;
    }
    program.try_into().map_err(|source| Error::Program { program: name, source })
}

#[cfg(test)]
mod tests {
    use aya_obj::{Object, btf::Btf};

    use super::OBJECT;

    /// So it does not matter how a kernel lays its structures out, and [`super::Loader`] need not read how it does.
    #[test]
    fn the_programs_assume_nothing_of_the_structures_of_a_kernel() {
        if OBJECT.is_empty() {
            println!("not looked at: the eBPF object is not built");
            return;
        }
        let mut object = Object::parse(OBJECT).unwrap();
        let instructions = |object: &Object| format!("{:?}", object.functions);
        let before = instructions(&object);
        // For a kernel without any structure: what asks for one is refused, or becomes an instruction that never passes.
        object.relocate_btf(&Btf::new()).unwrap();
        assert!(instructions(&object) == before, "something asks for a structure of the kernel");
    }
}
