//! `cargo xtask demo dns`: names of the mesh, with a real resolver and real clients in real network namespaces.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the demo is what it prints")]

use std::{fs, process::ExitCode, time::Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use harness::{
    Agent, AgentOptions, Lab, Mode, Node, PATIENCE, Pod, Process, Server,
    narrator::{self, prompt, say, show, title},
};

#[derive(Parser)]
struct Args {
    /// Leave everything standing at the end
    #[arg(long)]
    keep: bool,
}

const NAMESPACE: &str = "shop";
const OUTSIDE: &str = "outside";
const PORT: u16 = 80;

/// One node with its agent; a client and a database in the mesh, an API and a resolver outside.
struct Stage {
    client: Pod,
    api: Pod,
    db: Vec<Pod>,
    agent: Agent,
    servers: Vec<Server>,
    resolver: Process,
    node: Node,
    lab: Lab,
}

fn main() -> ExitCode {
    let Args { keep } = Args::parse();
    let start = Instant::now();
    match Stage::build(keep).and_then(|stage| stage.play(keep)) {
        Ok(()) => {
            println!("\nThe demo took {:.0} s.", start.elapsed().as_secs_f64());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

// === impl Stage ===

impl Stage {
    fn build(keep: bool) -> Result<Self> {
        title(
            "A client, a database of two pods, an API outside the mesh, and the resolver that they all ask",
        );
        let lab = if keep { Lab::standing("demo-dns")? } else { Lab::new("demodns")? };
        lab.raze_on_signal();
        let node = lab.node("a")?;
        let dns = node.pod(OUTSIDE, "resolver").start()?;
        let api = node.pod(OUTSIDE, "api").start()?;
        let backend = format!("--host-record=backend.example.com,{}", api.v4());
        let resolver = dns.resolve(&[
            "--local=/example.com/example.org/cluster.local/",
            &backend,
            "--host-record=www.example.org,192.0.2.80",
        ])?;
        let client = node.pod(NAMESPACE, "client").resolver(dns.v4().into()).start()?;
        let db = ["db-0", "db-1"].map(|name| node.pod(NAMESPACE, name).hostname(name, "db").start());
        let db: Vec<Pod> = db.into_iter().collect::<Result<_>>()?;
        let servers =
            db.iter().chain([&api]).map(|pod| pod.serve(Mode::Http, PORT)).collect::<Result<_>>()?;
        let members: Vec<&Pod> = db.iter().collect();
        lab.service(NAMESPACE, "db").headless().port("http", PORT, PORT).endpoints(&members).apply()?;
        let config = node.run_dir().with_file_name("config.yaml");
        fs::write(&config, format!("dns: {{resolvers: [{}]}}\n", dns.v4()))?;
        let config = config.to_str().context("the path of the lab is not UTF-8")?;
        let agent = node.agent(AgentOptions::default().arg("--config").arg(config))?;
        say(
            "The client's /etc/resolv.conf is what a kubelet writes: the cluster's search list, ndots:5, and the\n\
             address of the resolver, a dnsmasq. It knows nothing of the mesh:",
        );
        let stage = Self { client, api, db, agent, servers, resolver, node, lab };
        stage.dig("api.example.com")?;
        Ok(stage)
    }

    fn play(self, keep: bool) -> Result<()> {
        let played =
            self.give_names().and_then(|()| self.dial_by_pod_name()).and_then(|()| self.leave_the_rest());
        if let Err(error) = played {
            eprintln!("{}", self.lab.autopsy());
            return Err(error);
        }
        if keep { self.keep() } else { self.leave_nothing() }
    }

    /// ServiceEntries without addresses.
    fn give_names(&self) -> Result<()> {
        let Self { lab, agent, client, api, .. } = self;
        title("Two ServiceEntries, without addresses");
        let manifest = entries(&api.v4().to_string());
        println!("\n{}", manifest.trim_end());
        lab.write_manifest("entries.yaml", &manifest)?;
        lab.label_namespace(NAMESPACE, "istio.io/dataplane-mode", Some("ambient"))?;
        for pod in [client].into_iter().chain(&self.db) {
            agent.wait_captured(pod)?;
        }
        self.until_allocated()?;
        say(
            "TCP connections bear no names, so each host gets an address by which the proxy knows it. It is written\n\
             down beside the manifests, and every agent that reads them answers the same:",
        );
        self.millstream(&["dns", "allocations"])?;
        self.dig("api.example.com")?;
        self.curl("http://api.example.com/hello")?;
        say(
            "The other one has no address anywhere: the proxy resolves `backend.example.com` itself, and keeps the\n\
             last good answer.",
        );
        self.curl("http://partner.example.com/hello")?;
        self.millstream(&["maps", "listeners"])?;
        self.millstream(&["why", &client.full_name(), "partner.example.com:80"])
    }

    fn dial_by_pod_name(&self) -> Result<()> {
        title("A headless service, dialled by the name of one of its pods");
        self.dig("db")?;
        self.curl("http://db-1.db/hello")?;
        self.millstream(&["why", &self.client.full_name(), "db-1.db:80"])
    }

    fn leave_the_rest(&self) -> Result<()> {
        title("All other names");
        say(
            "They go to the resolver that the client asked, from the client's own network, and its reply comes back\n\
             byte for byte:",
        );
        self.dig("www.example.org")?;
        say("With the label gone, so do all:");
        self.lab.label_namespace(NAMESPACE, "istio.io/dataplane-mode", None)?;
        for pod in [&self.client].into_iter().chain(&self.db) {
            self.agent.wait_released(pod)?;
        }
        self.dig("api.example.com")
    }

    fn keep(self) -> Result<()> {
        let Self { lab, agent, servers, resolver, client, db, .. } = self;
        lab.label_namespace(NAMESPACE, "istio.io/dataplane-mode", Some("ambient"))?;
        for pod in [&client].into_iter().chain(&db) {
            agent.wait_captured(pod)?;
        }
        title("Labelled again, and left standing");
        say("cargo xtask lab exec client -- dig api.example.com\ncargo xtask lab down");
        agent.leave();
        resolver.leave();
        servers.into_iter().for_each(Server::leave);
        lab.leave()
    }

    fn leave_nothing(self) -> Result<()> {
        let Self { lab, node, mut agent, servers, resolver, client, api, db } = self;
        agent.terminate()?;
        agent.cli(&["cleanup"])?.stdout()?;
        let id = lab.id().clone();
        drop((servers, resolver, client, api, db, agent, node, lab));
        let left = Lab::leftovers(&id);
        ensure!(left.is_empty(), "left behind: {}", left.join(", "));
        Ok(())
    }

    fn until_allocated(&self) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let rows = self.agent.json(&["dns", "allocations"])?;
            if rows.as_array().is_some_and(|rows| rows.len() == 2) {
                return Ok(());
            }
            std::thread::yield_now();
        }
        anyhow::bail!("the hosts were given no addresses")
    }

    fn millstream(&self, args: &[&str]) -> Result<()> {
        narrator::millstream("node", &self.agent, args)
    }

    /// As programs look names up: by the search list. What is no answer is shown, too.
    fn dig(&self, name: &str) -> Result<()> {
        prompt("client", &format!("dig +search +noall +comments +answer {name}"));
        let args = ["dig", "+search", "+nocookie", "+noall", "+comments", "+answer", name];
        let output = self.client.run(&args)?;
        let told =
            output.any_stdout().lines().filter(|line| line.contains("status:") || !line.starts_with(';'));
        for line in told.filter(|line| !line.is_empty()) {
            println!("  {line}");
        }
        Ok(())
    }

    fn curl(&self, url: &str) -> Result<()> {
        prompt("client", &format!("curl {url}"));
        let output = self.client.run(&["curl", "--silent", "--show-error", "--max-time", "10", url])?;
        show(&output);
        output.stdout().map(drop)
    }
}

fn entries(api: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: api, namespace: {NAMESPACE}}}
spec:
  hosts: [api.example.com]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{{address: {api}}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: partner, namespace: {NAMESPACE}}}
spec:
  hosts: [partner.example.com]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: DNS
  endpoints: [{{address: backend.example.com}}]
"
    )
}
