//! Ingress documents of ingress-nginx, as the tree of directives that the controller makes of them.

mod annotations;
mod documents;

use crate::error::Error;
use crate::nginx::tree::{Directive, Reader};
use crate::place::Place;
use crate::report::{Note, Notes};
use crate::{NoFiles, Options};
use annotations::Made;
use documents::{Document, Ingress, Path, Rule};
use std::collections::BTreeMap;

/// Directives of an http block, and what is to be said already.
///
/// # Errors
/// The text is no YAML, or a snippet is no nginx configuration.
pub(crate) fn directives(name: &str, text: &str, options: &Options) -> Result<(Vec<Directive>, Notes), Error> {
    let files = NoFiles;
    let mut builder = Builder {
        reader: Reader::new(&files, options.missing_includes),
        notes: Notes::default(),
        http: Vec::new(),
        everywhere: Made::default(),
        servers: BTreeMap::new(),
    };
    let documents = documents::read(name, text)?;
    for document in &documents {
        if let Document::ConfigMap(map) = document {
            let made = annotations::of_config_map(map, &mut builder.reader)?;
            builder.http.extend(made.http);
            builder.everywhere.server.extend(made.server);
            builder.everywhere.location.extend(made.location);
        }
    }
    for document in &documents {
        match document {
            Document::Ingress(ingress) => builder.ingress(ingress)?,
            Document::ConfigMap(_) => {}
            Document::Other { kind, place } => {
                let says = "Only Ingress and the controller's ConfigMap are read.";
                let directive = made("kind", &[kind], place, &format!("kind: {kind}"));
                builder
                    .notes
                    .add(&directive, None, Note::irrelevant("other_kind", says));
            }
        }
    }
    Ok(builder.finish(name))
}

/// A directive that stands for something else.
fn made(name: &str, args: &[&str], place: &Place, shown: &str) -> Directive {
    Directive {
        name: name.to_owned(),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        block: None,
        place: place.clone(),
        shown: Some(shown.to_owned()),
    }
}

/// The server of one host.
struct Server {
    place: Place,
    names: Vec<String>,
    children: Vec<Directive>,
    /// Paths are expressions for all of the host, as soon as one Ingress says so.
    expressions: bool,
    paths: Vec<(Path, Vec<Directive>)>,
}

struct Builder<'f> {
    reader: Reader<'f>,
    notes: Notes,
    http: Vec<Directive>,
    /// What the ConfigMap says for all servers and locations.
    everywhere: Made,
    servers: BTreeMap<String, Server>,
}

impl Builder<'_> {
    fn ingress(&mut self, ingress: &Ingress) -> Result<(), Error> {
        if let Some(class) = ingress.class.as_deref().filter(|class| !class.contains("nginx")) {
            let says = format!("The Ingress is for the controller {class}; it is left out.");
            let directive = made("ingress", &[], &ingress.place, &format!("Ingress {}", ingress.name));
            self.notes.add(&directive, None, Note::irrelevant("other_class", says));
            return Ok(());
        }
        let made_of = annotations::of_ingress(ingress, &mut self.reader)?;
        if let Some(canary) = &made_of.canary {
            let says = "Requests go to the main Ingress only: no setting sends a part of them elsewhere.";
            self.notes.add(canary, None, Note::impossible("canary", says));
            for directive in made_of.location.iter().chain(&made_of.server) {
                crate::words::note(directive, &mut self.notes);
            }
            return Ok(());
        }
        for rule in &ingress.rules {
            self.rule(rule, ingress, &made_of);
        }
        Ok(())
    }

    fn rule(&mut self, rule: &Rule, ingress: &Ingress, made_of: &Made) {
        let server = self.servers.entry(rule.host.clone()).or_insert_with(|| Server {
            place: rule.place.clone(),
            names: vec![rule.host.clone()],
            children: Vec::new(),
            expressions: false,
            paths: Vec::new(),
        });
        server.expressions |= made_of.expressions;
        server.names.extend(made_of.aliases.iter().cloned());
        for directive in &made_of.server {
            if !server.children.contains(directive) {
                server.children.push(directive.clone());
            }
        }
        for path in &rule.paths {
            let mut children = made_of.location.clone();
            children.extend(self.everywhere.location.iter().cloned());
            let answered = children.iter().any(|child| child.name == "return");
            if !answered {
                children.extend(pass(path, ingress, made_of));
            }
            server.paths.push((path.clone(), children));
        }
    }

    fn finish(mut self, name: &str) -> (Vec<Directive>, Notes) {
        let start = Place {
            file: name.into(),
            line: 1,
            column: 1,
        };
        let mut items = std::mem::take(&mut self.http);
        // The controller answers what no rule is for with 404. First, so that it is the default server.
        if !self.servers.contains_key("") {
            items.push(Directive {
                block: Some(Vec::new()),
                ..made("server", &[], &start, "requests without a rule")
            });
        }
        // The empty name is the first of all.
        for (host, server) in std::mem::take(&mut self.servers) {
            let names: Vec<&str> = server.names.iter().map(String::as_str).collect();
            let shown = if host.is_empty() {
                "rule without a host".to_owned()
            } else {
                format!("host: {host}")
            };
            let mut children = vec![made("server_name", &names, &server.place, &shown)];
            children.extend(server.children);
            children.extend(self.everywhere.server.iter().cloned());
            for (path, own) in server.paths {
                children.extend(locations(&path, &own, server.expressions));
            }
            items.push(Directive {
                block: Some(children),
                ..made("server", &[], &server.place, &shown)
            });
        }
        (items, self.notes)
    }
}

/// Where a path's requests go.
fn pass(path: &Path, ingress: &Ingress, made_of: &Made) -> Vec<Directive> {
    let (scheme, name) = match made_of.protocol.as_deref() {
        Some("GRPC" | "GRPCS") => ("grpc", "grpc_pass"),
        Some("FCGI") => ("fastcgi", "fastcgi_pass"),
        Some("HTTPS") => ("https", "proxy_pass"),
        _ => ("http", "proxy_pass"),
    };
    let target = format!(
        "{scheme}://{}.{}.svc.cluster.local:{}",
        path.service, ingress.namespace, path.port
    );
    let shown = format!("path: {} to {}:{}", path.path, path.service, path.port);
    let mut directives = vec![made(name, &[&target], &path.place, &shown)];
    if !made_of
        .location
        .iter()
        .any(|own| own.name == "proxy_set_header" && own.first() == "Host")
    {
        directives.push(made("proxy_set_header", &["Host", "$host"], &path.place, &shown));
    }
    directives
}

/// The locations that the controller makes of a path.
fn locations(path: &Path, own: &[Directive], expressions: bool) -> Vec<Directive> {
    let shown = format!("path: {} ({})", path.path, path.kind);
    let one = |args: &[&str]| Directive {
        block: Some(own.to_vec()),
        ..made("location", args, &path.place, &shown)
    };
    let text = path.path.as_str();
    if expressions {
        return vec![one(&["~*", &format!("^{text}")])];
    }
    match path.kind.as_str() {
        "Exact" => vec![one(&["=", text])],
        "Prefix" if text != "/" => {
            let bare = text.trim_end_matches('/');
            vec![one(&[&format!("{bare}/")]), one(&["=", bare])]
        }
        _ => vec![one(&[text])],
    }
}

#[cfg(test)]
mod tests;
