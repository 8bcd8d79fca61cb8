//! A small scene, for the demo and the standing lab: a client, a web service of two pods, a database.

use std::net::SocketAddr;

use anyhow::Result;

use crate::{Lab, Mode, Node, Pod, Server, Service};

/// The namespace that gets the label.
pub const NAMESPACE: &str = "shop";
pub const LABEL: &str = "istio.io/dataplane-mode";

/// The pods and services of the shop, with their servers running.
#[derive(Debug)]
pub struct Shop {
    pub client: Pod,
    pub web: [Pod; 2],
    pub db: Pod,
    pub web_service: Service,
    pub db_service: Service,
    servers: Vec<Server>,
}

// === impl Shop ===

impl Shop {
    const WEB_PORT: u16 = 8_080;
    const DB_PORT: u16 = 5_432;

    /// Opens the shop; one of the web pods is on `far`, which may be the same node.
    pub fn open(lab: &Lab, near: &Node, far: &Node) -> Result<Self> {
        let web = |node: &Node, name: &str| {
            node.pod(NAMESPACE, name).label("app", "web").port("http", Self::WEB_PORT).start()
        };
        let client = near.pod(NAMESPACE, "client").start()?;
        let web = [web(near, "web-1")?, web(far, "web-2")?];
        let db = near.pod(NAMESPACE, "db").label("app", "db").start()?;

        let mut servers = vec![db.serve(Mode::Echo, Self::DB_PORT)?];
        for pod in &web {
            servers.push(pod.serve(Mode::Http, Self::WEB_PORT)?);
        }
        let web_service = lab
            .service(NAMESPACE, "web")
            .selector("app", "web")
            .port("http", 80, "http")
            .endpoints(&[&web[0], &web[1]])
            .apply()?;
        let db_service = lab
            .service(NAMESPACE, "db")
            .selector("app", "db")
            .port("sql", Self::DB_PORT, Self::DB_PORT)
            .endpoints(&[&db])
            .apply()?;
        Ok(Self { client, web, db, web_service, db_service, servers })
    }

    pub fn pods(&self) -> [&Pod; 4] {
        let Self { client, web: [first, second], db, .. } = self;
        [client, first, second, db]
    }

    /// A web pod itself, not the service.
    pub fn web_pod_url(&self) -> String {
        format!("http://{}:{}/hello", self.web[0].v4(), Self::WEB_PORT)
    }

    pub fn web_url(&self) -> String {
        format!("http://{}/hello", self.web_service.v4)
    }

    pub fn web_url_v6(&self) -> String {
        format!("http://[{}]/hello", self.web_service.v6)
    }

    /// The database itself, not the service.
    pub fn db_pod_addr(&self) -> SocketAddr {
        (self.db.v4(), Self::DB_PORT).into()
    }

    pub fn db_addr(&self) -> SocketAddr {
        self.db_service.v4_addr(Self::DB_PORT)
    }

    /// Leaves the servers running with the standing lab.
    pub fn leave(self) {
        self.servers.into_iter().for_each(Server::leave);
    }
}
