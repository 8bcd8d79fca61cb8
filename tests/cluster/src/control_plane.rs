//! The control plane: etcd, API server, controller manager and scheduler, in a network of their own.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use harness::{Io, Output, PATIENCE, Place, Process};

use crate::{
    component::{Component, words},
    kubeconfig,
    pki::{Identity, Pki},
    programs::program,
};

/// The virtual addresses of services, of both families.
pub(crate) const SERVICES: &str = "10.96.0.0/16,fd00:96::/112";
const PORT: u16 = 6443;
/// Only those in the network of the control plane get there.
const ETCD: &str = "http://127.0.0.1:2379";

#[derive(Debug)]
pub(crate) struct ControlPlane {
    place: Place,
    kubeconfig: PathBuf,
    etcd: Component,
    api_server: Component,
    controllers: [Component; 2],
}

// === impl ControlPlane ===

impl ControlPlane {
    /// Starts it at `address`, and waits until pods can be made.
    pub(crate) fn start(place: Place, address: IpAddr, dir: &Path, pki: &Pki) -> Result<Self> {
        let server = server(address);
        let kubeconfig = dir.join("admin.kubeconfig");
        kubeconfig::write(&kubeconfig, &server, pki, &pki.client("admin", "admin", &["system:masters"])?)?;
        let tokens = pki.token_keys()?;
        let of_controllers = |name: &'static str| -> Result<Vec<_>> {
            let path = dir.join(format!("{name}.kubeconfig"));
            kubeconfig::write(&path, &server, pki, &pki.client(name, &format!("system:{name}"), &[])?)?;
            Ok(words([
                format!("--kubeconfig={}", path.display()),
                "--bind-address=127.0.0.1".to_owned(),
                "--leader-elect=false".to_owned(),
            ]))
        };
        let mut manager = of_controllers("kube-controller-manager")?;
        let ca = pki.authority();
        manager.extend(words([
            "--use-service-account-credentials=true".to_owned(),
            format!("--service-account-private-key-file={}", tokens.key.display()),
            format!("--root-ca-file={}", ca.certificate.display()),
            format!("--cluster-signing-cert-file={}", ca.certificate.display()),
            format!("--cluster-signing-key-file={}", ca.key.display()),
        ]));
        let scheduler = of_controllers("kube-scheduler")?;
        let plane = Self {
            place,
            kubeconfig,
            etcd: etcd(dir),
            api_server: api_server(address, dir, pki, &tokens)?,
            controllers: [
                Component::new("kube-controller-manager", dir, manager),
                Component::new("kube-scheduler", dir, scheduler),
            ],
        };
        plane.etcd.start(&plane.place)?;
        plane.start_api_server()?;
        for controller in &plane.controllers {
            controller.start(&plane.place)?;
        }
        // No pod can be made before its namespace has this.
        let account = ["get", "serviceaccount", "default", "--namespace=default"];
        plane.wait_for(&account).with_context(|| plane.last_words())?;
        Ok(plane)
    }

    pub(crate) fn start_api_server(&self) -> Result<()> {
        self.api_server.start(&self.place)?;
        self.wait_for(&["get", "--raw=/readyz"]).with_context(|| self.last_words())
    }

    pub(crate) fn stop_api_server(&self) -> Result<()> {
        self.api_server.kill()
    }

    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// `kubectl ARGS` with `stdin`.
    pub(crate) fn kubectl(&self, args: &[&str], stdin: Option<&str>) -> Result<Output> {
        let mut process = self.start_kubectl(args)?;
        if let Some(text) = stdin {
            process.send(text)?;
        }
        process.close_stdin();
        process.wait(PATIENCE)
    }

    /// The same, as a program to talk with.
    pub(crate) fn start_kubectl(&self, args: &[&str]) -> Result<Process> {
        let mut command = self.place.command(&[program("kubectl")?])?;
        command.args(args).env("KUBECONFIG", &self.kubeconfig);
        self.place.start(command, Io::Piped)
    }

    pub(crate) fn last_words(&self) -> String {
        let [manager, scheduler] = &self.controllers;
        [&self.etcd, &self.api_server, manager, scheduler].map(Component::last_words).concat()
    }

    /// Leaves it running with the standing cluster.
    pub(crate) fn leave(&self) {
        let [manager, scheduler] = &self.controllers;
        for component in [&self.etcd, &self.api_server, manager, scheduler] {
            component.leave();
        }
    }

    /// Asks until there is an answer: before the API server is ready there is nobody who would tell when it is.
    fn wait_for(&self, question: &[&str]) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let args: Vec<_> = ["--request-timeout=5s"].iter().chain(question).copied().collect();
            let output = self.kubectl(&args, None)?;
            if output.status.success() {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "asked in vain for {PATIENCE:?}: {}", output.stderr.trim());
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// The address of the API server, as a client writes it.
pub(crate) fn server(address: IpAddr) -> String {
    format!("https://{address}:{PORT}")
}

fn etcd(dir: &Path) -> Component {
    let peers = "http://127.0.0.1:2380";
    let args = words([
        format!("--data-dir={}", dir.join("etcd").display()),
        // The data need not survive the machine.
        "--unsafe-no-fsync".to_owned(),
        format!("--listen-client-urls={ETCD}"),
        format!("--advertise-client-urls={ETCD}"),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
        format!("--initial-cluster=default={peers}"),
    ]);
    Component::new("etcd", dir, args)
}

fn api_server(address: IpAddr, dir: &Path, pki: &Pki, tokens: &Identity) -> Result<Component> {
    let names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "10.96.0.1", "fd00:96::1"];
    let names: Vec<_> = names.map(str::to_owned).into_iter().chain([address.to_string()]).collect();
    let own = pki.server("kube-apiserver", &names)?;
    let to_kubelets = pki.client("kube-apiserver-to-kubelet", "kube-apiserver", &["system:masters"])?;
    let ca = pki.authority().certificate;
    let args = words([
        format!("--etcd-servers={ETCD}"),
        format!("--advertise-address={address}"),
        format!("--secure-port={PORT}"),
        format!("--service-cluster-ip-range={SERVICES}"),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--allow-privileged=true".to_owned(),
        format!("--cert-dir={}", dir.display()),
        format!("--client-ca-file={}", ca.display()),
        format!("--tls-cert-file={}", own.certificate.display()),
        format!("--tls-private-key-file={}", own.key.display()),
        format!("--kubelet-certificate-authority={}", ca.display()),
        format!("--kubelet-client-certificate={}", to_kubelets.certificate.display()),
        format!("--kubelet-client-key={}", to_kubelets.key.display()),
        // Names of nodes are known to nobody else.
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={}", tokens.certificate.display()),
        format!("--service-account-signing-key-file={}", tokens.key.display()),
    ]);
    Ok(Component::new("kube-apiserver", dir, args))
}
