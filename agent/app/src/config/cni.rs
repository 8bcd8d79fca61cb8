//! Where and how the CNI plugin is installed.

use std::path::{Path, PathBuf};

use cni::{
    entry::{Entry, Own, WhenUnknown},
    install::Install,
};
use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Cni {
    pub conf_dir: PathBuf,
    pub bin_dir: PathBuf,
    pub plugin: PathBuf,
    pub state_dir: PathBuf,
    pub own_conflist: bool,
    pub when_unknown: WhenUnknown,
    pub except: Vec<String>,
    pub status_gates_node: bool,
}

// === impl Cni ===

impl Cni {
    /// The plugin's own entry in the chain. `own`: the DaemonSet of the agent, if it runs in one.
    pub fn entry(&self, run_dir: &Path, own: Option<Own>) -> Entry {
        Entry {
            run_dir: run_dir.to_owned(),
            state_dir: self.state_dir.clone(),
            own: own.unwrap_or_default(),
            when_unknown: self.when_unknown,
            except: self.except.clone(),
            status_gates_node: self.status_gates_node,
            ..Entry::default()
        }
    }

    pub fn install(&self, entry: Entry) -> Install {
        Install {
            plugin: self.plugin.clone(),
            bin_dir: self.bin_dir.clone(),
            conf_dir: self.conf_dir.clone(),
            entry,
            own_conflist: self.own_conflist,
        }
    }
}

impl Default for Cni {
    fn default() -> Self {
        Self {
            conf_dir: "/etc/cni/net.d".into(),
            bin_dir: "/opt/cni/bin".into(),
            plugin: "/usr/local/bin/millstream-cni".into(),
            state_dir: "/var/lib/millstream".into(),
            own_conflist: false,
            when_unknown: WhenUnknown::Allow,
            except: vec!["kube-system".to_owned()],
            status_gates_node: false,
        }
    }
}
