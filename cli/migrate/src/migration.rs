//! The whole way: a tree of directives in, settings and report out.

use crate::error::Error;
use crate::look::Context;
use crate::nginx::tree::Directive;
use crate::report::{Note, Notes, Report};
use crate::routes::{self, Hosted, Routes};
use crate::scope::Scope;
use crate::shared::{self, Cached};
use crate::site::{self, Kind, Server};
use crate::spots;
use crate::upstreams::Upstreams;
use crate::variables::Variables;
use crate::{Migration, Options, words};
use control_domain::settings::change::Change;
use control_domain::settings::history::{Author, Refused, SettingsHistory};
use optimizer_proto::settings::Settings;
use serde_json::{Value, json};

/// Most locations, and most names of servers, that are worked through: the settings hold 256 routes.
const MAX_LOCATIONS: usize = 1_000;

/// Settings and report of a configuration.
///
/// # Errors
/// It is larger than what is worked through, or than what settings hold.
pub(crate) fn run(items: &[Directive], mut notes: Notes, options: &Options) -> Result<Migration, Error> {
    let http = http_of(items);
    let variables = Variables::of(items);
    let zones = shared::zones(http);
    let context = Context {
        options,
        variables: &variables,
        zones: &zones,
    };
    let mut upstreams = Upstreams::of(http);
    let (servers, unsaid) = site::servers(http, &Scope::of(http));
    let locations: usize = servers.iter().map(|server| server.locations.len()).sum();
    let hosts: usize = servers.iter().map(|server| server.hosts.len()).sum();
    if let Some(server) = servers
        .first()
        .filter(|_| locations.max(hosts).max(servers.len()) > MAX_LOCATIONS)
    {
        return Err(Error::TooLarge {
            place: server.directive.place.clone(),
            message: format!("more than {MAX_LOCATIONS} servers, names of servers or locations"),
        });
    }
    for (directive, name) in unsaid {
        let says = format!("No route of the settings is for hosts like {name}; they get what the default server says.");
        notes.add(directive, None, Note::impossible("server_name", says));
    }
    let mut hosted = Vec::new();
    for (number, server) in servers.iter().enumerate() {
        hosted.push(Hosted {
            hosts: server.hosts.clone(),
            is_default: server.is_default,
            gives_way: spots::answers_by_itself(server).is_some(),
            spots: spots::of_server(server, number, &context, &mut upstreams, &mut notes),
        });
    }
    let routes = routes::of(&hosted);
    notes.settle(&routes.caching);
    note_locations(&servers, &routes, &mut notes);
    let cached = cached(&servers, &hosted, &routes);
    let mut document = shared::document(http, &cached, &context, &mut notes);
    upstreams.note_unused(&mut notes);
    let made = upstreams.document();
    if !made.is_empty() {
        document.insert("upstreams".to_owned(), json!(made));
    }
    document.insert("routes".to_owned(), json!(routes.document));
    let settings = Value::Object(document);
    check(&settings)?;
    words::note_rest(items, &mut notes);
    let report: Report = notes.report(&routes.names, options.assumptions());
    Ok(Migration { settings, report })
}

/// Whether each location became a route, and whether it caches.
fn note_locations(servers: &[Server<'_>], routes: &Routes, notes: &mut Notes) {
    for (number, server) in servers.iter().enumerate() {
        for (at, location) in server.locations.iter().enumerate() {
            let id = (number, at);
            if !matches!(location.kind, Kind::Prefix | Kind::FirmPrefix) {
                continue;
            }
            let says = match (routes.names.contains_key(&id), routes.caching.contains(&id)) {
                (_, true) => "It is a route that caches.",
                (true, false) => "It is a route that does not cache.",
                (false, false) => "It is a part of a route around it, and does not cache.",
            };
            notes.add(location.directive, Some(id), Note::taken("location", says));
        }
    }
}

/// The locations that cache, with what holds for them.
fn cached<'a>(servers: &[Server<'a>], hosted: &[Hosted], routes: &Routes) -> Vec<Cached<'a>> {
    let mut cached = Vec::new();
    for (server, hosted) in servers.iter().zip(hosted) {
        for spot in hosted.spots.values() {
            let Some(caching) = spot.conduct.caching() else {
                continue;
            };
            for id in spot.locations.iter().filter(|id| routes.caching.contains(id)) {
                if let Some(location) = server.locations.get(id.1) {
                    cached.push(Cached {
                        id: *id,
                        scope: location.scope.clone(),
                        caching: caching.clone(),
                    });
                }
            }
        }
    }
    cached
}

/// The http block; a file without one is taken for what is in it, as files of `sites-enabled` are.
fn http_of(items: &[Directive]) -> &[Directive] {
    let block = items.iter().find(|item| item.name == "http" && item.block.is_some());
    block.map_or(items, Directive::children)
}

/// As the control plane checks what is put to it.
fn check(settings: &Value) -> Result<(), Error> {
    let history = SettingsHistory::new(String::new(), &Settings::default(), 0);
    let change = Change::Replace(settings.clone());
    match history.propose(&change, None, Author::default(), 0) {
        Ok(_) => Ok(()),
        Err(Refused::Violations(violations)) => {
            let all: Vec<String> = violations.iter().take(5).map(ToString::to_string).collect();
            Err(Error::Settings(all.join("; ")))
        }
        Err(other) => Err(Error::Settings(other.to_string())),
    }
}
