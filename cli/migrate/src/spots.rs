//! A server's locations as beginnings of paths, which is how the settings choose routes. Where nginx chooses in another way, what nginx did
//! not cache is not cached, and what is around it neither.

use crate::look::{Context, Look};
use crate::nginx::tree::Directive;
use crate::policy::conduct::{self, Conduct};
use crate::report::{LocationId, Note, Notes};
use crate::site::{Kind, Location, Rest, Server, head_of_expression};
use crate::upstreams::Upstreams;
use std::collections::{BTreeMap, BTreeSet};

/// What holds for the paths with one beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub conduct: Conduct,
    /// No expression is looked at (`^~`).
    pub firm: bool,
    /// The locations that it stands for.
    pub locations: BTreeSet<LocationId>,
}

impl Spot {
    /// Takes the cache away.
    fn forbid(&mut self) {
        if let Conduct::Upstream { caching, .. } = &mut self.conduct {
            *caching = None;
        } else {
            self.conduct = Conduct::UNKNOWN;
        }
    }
}

/// Spots by beginnings of paths.
pub(crate) type Spots = BTreeMap<String, Spot>;

/// The spot of the longest beginning of a path.
pub(crate) fn around<'s>(spots: &'s Spots, path: &str) -> Option<(&'s String, &'s Spot)> {
    let fitting = spots.iter().filter(|(prefix, _)| path.starts_with(prefix.as_str()));
    fitting.max_by_key(|(prefix, _)| prefix.len())
}

/// The spots of a server. One of them is `/`.
pub(crate) fn of_server<'a>(
    server: &Server<'a>,
    number: usize,
    context: &Context<'a>,
    upstreams: &mut Upstreams<'_>,
    notes: &mut Notes,
) -> Spots {
    let mut builder = Builder {
        server,
        number,
        context,
        notes,
        spots: Spots::new(),
    };
    builder.run(upstreams);
    builder.spots
}

/// Whether a server answers everything by itself, as one that leads to https.
pub(crate) fn answers_by_itself<'a>(server: &Server<'a>) -> Option<&'a Directive> {
    server.directive_children().iter().find(|item| item.name == "return")
}

impl<'a> Server<'a> {
    fn directive_children(&self) -> &'a [Directive] {
        self.directive.children()
    }
}

struct Builder<'a, 's, 'n> {
    server: &'s Server<'a>,
    number: usize,
    context: &'s Context<'a>,
    notes: &'n mut Notes,
    spots: Spots,
}

impl<'a> Builder<'a, '_, '_> {
    fn run(&mut self, upstreams: &mut Upstreams<'_>) {
        if let Some(answer) = answers_by_itself(self.server) {
            let says = "The server answers everything itself; Envoy has to (a redirect, or a direct response).";
            self.notes
                .add(answer, None, Note::impossible("answered_by_nginx", says));
            self.insert("/", Conduct::Itself, false, None);
            return;
        }
        let locations: Vec<(usize, &Location<'a>)> = self.server.locations.iter().enumerate().collect();
        let mut conducts = BTreeMap::new();
        for (at, location) in &locations {
            if location.kind != Kind::Named {
                conducts.insert(*at, self.conduct(*at, location, upstreams));
            }
        }
        let of_kind = |wanted: &[Kind]| {
            let fits = |(at, location): &(usize, &Location<'a>)| {
                let conduct = conducts.get(at)?;
                wanted
                    .contains(&location.kind)
                    .then(|| (*at, (*location).clone(), conduct.clone()))
            };
            locations.iter().filter_map(fits).collect::<Vec<_>>()
        };
        for (at, location, conduct) in of_kind(&[Kind::Prefix, Kind::FirmPrefix]) {
            self.prefix(at, &location, conduct);
        }
        if !self.spots.contains_key("/") {
            self.insert("/", Conduct::Itself, false, None);
        }
        for (at, location, conduct) in of_kind(&[Kind::Exact]) {
            self.exact(at, &location, &conduct);
        }
        let mut heads: Vec<String> = Vec::new();
        for (at, location, conduct) in of_kind(&[Kind::Expression]) {
            self.expression(at, &location, &conduct, &mut heads);
        }
    }

    fn conduct(&mut self, at: usize, location: &Location<'a>, upstreams: &mut Upstreams<'_>) -> Conduct {
        let own = |name: &str| location.scope.own().iter().find(|item| item.name == name);
        let mut chosen = location;
        if own("proxy_pass").is_none()
            && let Some(files) = own("try_files")
        {
            let last = files.args.last().map_or("", String::as_str);
            if let Some(named) = self
                .server
                .locations
                .iter()
                .find(|other| other.pattern == last && last.starts_with('@'))
            {
                let says =
                    format!("Envoy has no files: all requests go where nginx sent those without a file, to {last}.");
                self.notes
                    .add(files, Some((self.number, at)), Note::changed("try_files", says));
                chosen = named;
            } else if !last.starts_with('=') {
                let says = "nginx goes to another location where there is no file; the settings cannot, and the route does not cache.";
                self.notes
                    .add(files, Some((self.number, at)), Note::impossible("try_files", says));
                return Conduct::UNKNOWN;
            }
        }
        let mut look = Look {
            context: self.context,
            scope: &chosen.scope,
            pattern: chosen.pattern,
            id: (self.number, at),
            notes: self.notes,
        };
        conduct::of(&mut look, upstreams)
    }

    fn note(&mut self, at: usize, location: &Location<'_>, note: Note) {
        self.notes.add(location.directive, Some((self.number, at)), note);
    }

    fn insert(&mut self, prefix: &str, conduct: Conduct, firm: bool, at: Option<usize>) {
        let spot = Spot {
            conduct,
            firm,
            locations: at.map(|at| (self.number, at)).into_iter().collect(),
        };
        self.spots.insert(prefix.to_owned(), spot);
    }

    fn prefix(&mut self, at: usize, location: &Location<'a>, conduct: Conduct) {
        let prefix = plain_part(location.pattern);
        let firm = location.kind == Kind::FirmPrefix;
        if prefix != location.pattern {
            let says = format!("No setting holds this path; what begins with {prefix} is not cached.");
            self.note(at, location, Note::impossible("path", says));
            match self.spots.get_mut(prefix) {
                Some(spot) => spot.forbid(),
                None => self.insert(prefix, Conduct::UNKNOWN, firm, Some(at)),
            }
            return;
        }
        self.insert(prefix, conduct, firm, Some(at));
    }

    fn exact(&mut self, at: usize, location: &Location<'a>, conduct: &Conduct) {
        let path = plain_part(location.pattern).to_owned();
        let Some((prefix, spot)) = around(&self.spots, &path) else {
            return;
        };
        let (prefix, outer) = (prefix.clone(), spot.conduct.clone());
        if conduct.is_itself() {
            let says = "nginx answers this one path itself; Envoy has to, by a route before the others.";
            self.note(at, location, Note::impossible("exact", says));
            return;
        }
        if conduct.upstream() != outer.upstream() {
            let says =
                format!("Routes of the settings are for all that begins with a path: {path} goes where {prefix} does.");
            self.note(at, location, Note::impossible("exact_upstream", says));
        }
        if conduct.caching() == outer.caching() {
            let says = format!("It is a part of the route of {prefix}, which says the same of the cache.");
            self.note(at, location, Note::taken("exact", says));
            self.join(&prefix, at);
            return;
        }
        if outer.caching().is_none() {
            let says = format!(
                "It would be cached, but no setting is for one path alone: it is a part of the route of {prefix}, which does not cache."
            );
            self.note(at, location, Note::impossible("exact", says));
            self.join(&prefix, at);
            return;
        }
        let says = format!("No setting is for one path alone: nothing that begins with {path} is cached.");
        self.note(at, location, Note::changed("exact", says));
        if prefix == path {
            if let Some(spot) = self.spots.get_mut(&prefix) {
                spot.forbid();
            }
            self.join(&prefix, at);
        } else {
            let upstream = outer.upstream().map(str::to_owned);
            let conduct = Conduct::Upstream {
                caching: None,
                upstream,
            };
            self.insert(&path, conduct, false, Some(at));
        }
    }

    fn join(&mut self, prefix: &str, at: usize) {
        if let Some(spot) = self.spots.get_mut(prefix) {
            spot.locations.insert((self.number, at));
        }
    }

    fn expression(&mut self, at: usize, location: &Location<'a>, conduct: &Conduct, heads: &mut Vec<String>) {
        if conduct.is_itself() {
            let says = "nginx answers these paths itself; Envoy has to, by a route before the others.";
            self.note(at, location, Note::impossible("expression", says));
            return;
        }
        let (head, rest) = head_of_expression(location.pattern);
        let plain = plain_part(&head).to_owned();
        let rest = if plain == head { rest } else { Rest::More };
        let head = plain;
        let touches = |other: &str| other.starts_with(&head) || head.starts_with(other);
        let first = !heads.iter().any(|other| touches(other));
        heads.push(head.clone());
        let hit = |(prefix, spot): &(&String, &Spot)| !spot.firm && touches(prefix);
        let (outer, outer_firm) = match around(&self.spots, &head) {
            Some((prefix, spot)) => (prefix.clone(), spot.firm),
            None => return,
        };
        // Of those around the head only the nearest one loses something to the expression.
        let within = |prefix: &str| prefix.starts_with(&head) || prefix == outer;
        let hits = self.spots.iter().filter(hit).filter(|(prefix, _)| within(prefix));
        let hits: Vec<String> = hits.map(|(prefix, _)| prefix.clone()).collect();
        let spot_of = |prefix: &String| self.spots.get(prefix);
        let same_cache = hits
            .iter()
            .filter_map(spot_of)
            .all(|spot| spot.conduct.caching() == conduct.caching());
        let same_upstream = hits
            .iter()
            .filter_map(spot_of)
            .all(|spot| spot.conduct.upstream() == conduct.upstream());
        // The slash of a server without a location for it stands for nothing.
        let nothing = |spot: &Spot| spot.conduct.is_itself() && spot.locations.is_empty();
        let alone = !self
            .spots
            .iter()
            .any(|(prefix, spot)| prefix.starts_with(&head) && !nothing(spot));
        let around_is_nothing = spot_of(&outer).is_some_and(nothing);
        let is_route = rest == Rest::Nothing || rest == Rest::Anything && around_is_nothing;
        if is_route && first && alone && !outer_firm {
            let note = if rest == Rest::Nothing {
                Note::taken(
                    "expression",
                    format!("It fits what begins with {head}, and is a route."),
                )
            } else {
                let says = format!(
                    "All that begins with {head} is a route; what the expression does not fit of it, nginx answered itself."
                );
                Note::changed("expression", says)
            };
            self.note(at, location, note);
            self.insert(&head, conduct.clone(), false, Some(at));
            return;
        }
        if !same_upstream {
            let says = "Routes of the settings are for beginnings of paths: what the expression fits goes where the route of its path does.";
            self.note(at, location, Note::impossible("expression_upstream", says));
        }
        if same_cache && !around_is_nothing {
            let says = "What it fits is a part of routes that say the same of the cache.";
            self.note(at, location, Note::taken("expression", says));
            hits.iter().for_each(|prefix| self.join(prefix, at));
            return;
        }
        let says = format!(
            "No setting chooses by an expression: nothing that begins with {head} is cached, but for locations with ^~."
        );
        self.note(at, location, Note::impossible("expression", says));
        if !outer_firm && outer != head {
            let upstream = self
                .spots
                .get(&outer)
                .and_then(|spot| spot.conduct.upstream())
                .map(str::to_owned);
            let conduct = Conduct::Upstream {
                caching: None,
                upstream,
            };
            self.insert(&head, conduct, false, Some(at));
        }
        for prefix in hits.iter().filter(|prefix| prefix.starts_with(&head)) {
            if let Some(spot) = self.spots.get_mut(prefix) {
                spot.forbid();
            }
            self.join(prefix, at);
        }
    }
}

/// The longest beginning of a path that a setting can hold.
fn plain_part(path: &str) -> &str {
    const LONGEST: usize = 1_024;
    if !path.starts_with('/') {
        return "/";
    }
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'%' | b'\\' | b';');
    let end = path.bytes().position(|byte| !plain(byte)).unwrap_or(path.len());
    path.get(..end.min(LONGEST)).unwrap_or("/")
}
