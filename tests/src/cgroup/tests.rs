use std::path::Path;

use super::find_root;

#[test]
fn cgroup_v2_is_found_wherever_it_is_mounted() {
    let hybrid = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                  32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
                  41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
    let unified = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    let cases = [
        ("hybrid", hybrid, Some("/sys/fs/cgroup/unified")),
        ("unified", unified, Some("/sys/fs/cgroup")),
        ("v1 only", "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n", None),
        ("nonsense", "what is this\n", None),
    ];
    for (name, mountinfo, expected) in cases {
        assert_eq!(find_root(mountinfo).as_deref(), expected.map(Path::new), "{name}");
    }
}
