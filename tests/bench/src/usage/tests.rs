use super::{busy, memory, process_cpu};

#[test]
fn cpu_of_a_process_whatever_its_name() {
    let after = "S 1 1 1 0 -1 4194560 1 2 3 4 150 50 7 8 20 0 1 0 100";
    for name in ["millstream", "a b", "a) R 1 (b"] {
        assert_eq!(process_cpu(&format!("42 ({name}) {after}")), Some(2.0), "{name}");
    }
    assert_eq!(process_cpu("42 (short) S 1"), None);
}

#[test]
fn memory_of_a_process() {
    let status = "Name:\tmillstream\nVmHWM:\t   20480 kB\nVmRSS:\t   10240 kB\n";
    assert_eq!(memory(status, "VmRSS:"), Some(10 << 20));
    assert_eq!(memory(status, "VmHWM:"), Some(20 << 20));
    assert_eq!(memory("Name:\tkthread\n", "VmRSS:"), None);
}

#[test]
fn a_busy_machine() {
    assert_eq!(busy("cpu  100 10 200 9999 50 5 85 7 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n"), Some(4.0));
    assert_eq!(busy("cpu  100 10\n"), None);
}
