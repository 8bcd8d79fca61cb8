//! Who rewrites the chain, told by the plugins in it. PURE.

use std::path::Path;

/// A sentence that names the likely one, and what to do.
pub(super) fn of(types: &[String], file: &Path) -> String {
    let is = |name: &str| types.iter().any(|r#type| r#type == name);
    if is("cilium-cni") {
        "It is probably Cilium: set its Helm value cni.exclusive=false".to_owned()
    } else if is("calico") {
        "It is probably Calico's install-cni, in the pods calico-node: see why they start again and again, or install \
         with a conflist of our own (cni.ownConflist)"
            .to_owned()
    } else {
        let who = types.first().map_or("the chain", String::as_str);
        format!(
            "It is whatever installs {who} in {}: stop it from writing that file again and again, or install with a \
             conflist of our own (cni.ownConflist)",
            file.display()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plugins_tell_who_installs_them() {
        for (types, expected) in [
            (&["cilium-cni"][..], "cni.exclusive=false"),
            (&["calico", "portmap", "bandwidth"], "calico-node"),
            (&["ptp", "portmap"], "whatever installs ptp in /etc/cni/net.d/10-a.conflist"),
            (&[], "whatever installs the chain in /etc/cni/net.d/10-a.conflist"),
        ] {
            let types: Vec<_> = types.iter().map(|&r#type| r#type.to_owned()).collect();
            let sentence = of(&types, Path::new("/etc/cni/net.d/10-a.conflist"));
            assert!(sentence.contains(expected), "{sentence}");
        }
    }
}
