//! Envoy's shipped configuration as a document, to change before Envoy starts.

use e2e::bootstrap::Bootstrap;
use e2e::envoy::Envoy;
use e2e::ports::free_port;
use e2e::{Result, artefacts};
use serde_json::{Value, json};
use std::path::Path;

/// A configuration of the shipped form for one Envoy.
#[derive(Clone, Debug)]
pub(super) struct Configuration {
    bootstrap: Bootstrap,
    document: Value,
}

impl Configuration {
    /// `envoy/static.yaml` with the filter on these settings, or without the filter.
    pub(super) fn new(settings: Option<&Value>, origin: u16) -> Result<Self> {
        let mut bootstrap = Bootstrap::bare(free_port()?, free_port()?, ("127.0.0.1".to_owned(), origin));
        if let Some(settings) = settings {
            bootstrap.wasm = Some(artefacts::filter()?);
            bootstrap.settings = settings.to_string();
        }
        let document = serde_saphyr::from_str(&bootstrap.render()?).expect("YAML");
        Ok(Self { bootstrap, document })
    }

    /// Port of the first listener.
    pub(super) fn port(&self) -> u16 {
        self.bootstrap.listen_port
    }

    /// The HTTP connection manager of the listener.
    pub(super) fn manager(&mut self, listener: usize) -> &mut Value {
        &mut self.document["static_resources"]["listeners"][listener]["filter_chains"][0]["filters"][0]["typed_config"]
    }

    pub(super) fn set_virtual_hosts(&mut self, listener: usize, hosts: Value) {
        self.manager(listener)["route_config"]["virtual_hosts"] = hosts;
    }

    /// Adds fields to the connection manager.
    pub(super) fn set_options(&mut self, listener: usize, options: &Value) {
        let manager = self.manager(listener).as_object_mut().expect("an object");
        manager.extend(options.as_object().expect("an object").clone());
    }

    /// HTTP filters between ours and the router; without ours, in front of the router.
    pub(super) fn add_filters_behind(&mut self, listener: usize, filters: &[Value]) {
        let all = self.manager(listener)["http_filters"].as_array_mut().expect("filters");
        let router = all.len() - 1;
        all.splice(router..router, filters.iter().cloned());
    }

    /// A copy of the first listener on another port; gives the port.
    pub(super) fn add_listener(&mut self) -> Result<u16> {
        let port = free_port()?;
        let listeners = &mut self.document["static_resources"]["listeners"];
        let mut copy = listeners[0].clone();
        copy["name"] = json!("second");
        copy["address"]["socket_address"]["port_value"] = json!(port);
        listeners.as_array_mut().expect("listeners").push(copy);
        Ok(port)
    }

    /// A copy of the origin's cluster under another name, with another endpoint.
    pub(super) fn add_cluster(&mut self, name: &str, port: u16) {
        let clusters = &mut self.document["static_resources"]["clusters"];
        let mut copy = clusters[0].clone();
        copy["name"] = json!(name);
        copy["load_assignment"]["cluster_name"] = json!(name);
        let endpoint = &mut copy["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
        endpoint["address"]["socket_address"]["port_value"] = json!(port);
        clusters.as_array_mut().expect("clusters").push(copy);
    }

    /// A cluster: first the origin's, then those that were added.
    pub(super) fn cluster(&mut self, at: usize) -> &mut Value {
        &mut self.document["static_resources"]["clusters"][at]
    }

    /// Starts Envoy with two workers and waits until it takes requests.
    pub(super) fn start(&self, folder: &Path) -> Result<Envoy> {
        std::fs::create_dir_all(folder)?;
        let text = serde_json::to_string_pretty(&self.document)?;
        let mut envoy = Envoy::start_from(&text, &self.bootstrap, 2, folder, &[])?;
        envoy.wait_ready()?;
        Ok(envoy)
    }
}
