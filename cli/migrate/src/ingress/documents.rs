//! The YAML of Ingress and ConfigMap, with the lines of their values.

use crate::error::Error;
use crate::place::Place;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_saphyr::Spanned;
use std::collections::BTreeMap;
use std::rc::Rc;

/// A value with its place.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub value: String,
    pub place: Place,
    /// Where its content begins: behind the `|` of a block.
    pub content: Place,
}

/// A path of a rule.
#[derive(Clone, Debug)]
pub(super) struct Path {
    pub path: String,
    pub kind: String,
    pub service: String,
    pub port: String,
    pub place: Place,
}

/// The paths of a host; none: the empty name.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub host: String,
    pub place: Place,
    pub paths: Vec<Path>,
}

/// An Ingress.
#[derive(Clone, Debug)]
pub(super) struct Ingress {
    pub name: String,
    pub namespace: String,
    pub class: Option<String>,
    pub place: Place,
    pub annotations: BTreeMap<String, Text>,
    pub rules: Vec<Rule>,
}

/// A document.
#[derive(Clone, Debug)]
pub(super) enum Document {
    Ingress(Ingress),
    /// Its data.
    ConfigMap(BTreeMap<String, Text>),
    Other {
        kind: String,
        place: Place,
    },
}

type Strings = BTreeMap<String, Spanned<String>>;

#[derive(Deserialize)]
struct RawKind {
    #[serde(default)]
    kind: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawMeta {
    name: Option<String>,
    namespace: Option<String>,
    annotations: Option<Strings>,
}

#[derive(Deserialize)]
struct RawIngress {
    kind: Option<Spanned<String>>,
    #[serde(default)]
    metadata: RawMeta,
    #[serde(default)]
    spec: RawSpec,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawSpec {
    ingress_class_name: Option<String>,
    default_backend: Option<Spanned<RawBackend>>,
    rules: Option<Vec<Spanned<RawRule>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawRule {
    host: Option<String>,
    http: RawHttp,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawHttp {
    paths: Option<Vec<Spanned<RawPath>>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawPath {
    path: Option<String>,
    path_type: Option<String>,
    backend: RawBackend,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawBackend {
    service: RawService,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawService {
    name: String,
    port: RawPort,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawPort {
    number: Option<u16>,
    name: Option<String>,
}

#[derive(Deserialize)]
struct RawConfigMap {
    #[serde(default)]
    data: Option<Strings>,
}

#[derive(Deserialize)]
struct RawList<T> {
    items: Vec<T>,
}

/// Where a document begins in its file.
struct Part<'t> {
    file: Rc<str>,
    text: &'t str,
    /// Lines before it.
    before: u32,
}

/// The documents of a text.
///
/// # Errors
/// It is no YAML, or a document is not shaped as its kind is.
pub(super) fn read(name: &str, text: &str) -> Result<Vec<Document>, Error> {
    let file: Rc<str> = Rc::from(name);
    if text.len() > crate::nginx::tree::MAX_BYTES {
        let place = Place {
            file,
            line: 1,
            column: 1,
        };
        let message = format!("more than {} bytes", crate::nginx::tree::MAX_BYTES);
        return Err(Error::TooLarge { place, message });
    }
    let mut documents = Vec::new();
    for part in parts(&file, text) {
        let says_something = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
        if !part.text.lines().any(says_something) {
            continue;
        }
        let kind = part.read::<RawKind>()?.kind;
        let place = kind.as_ref().map_or_else(|| part.place(1, 1), |kind| part.of(kind));
        match kind.map(|kind| kind.value).unwrap_or_default().as_str() {
            "Ingress" => documents.push(Document::Ingress(part.ingress(part.read()?))),
            "IngressList" | "List" => {
                let list = part.read::<RawList<RawIngress>>()?;
                for raw in list.items {
                    let kind = raw
                        .kind
                        .as_ref()
                        .map_or("Ingress", |kind| kind.value.as_str())
                        .to_owned();
                    documents.push(match kind.as_str() {
                        "Ingress" => Document::Ingress(part.ingress(raw)),
                        _ => Document::Other {
                            kind,
                            place: place.clone(),
                        },
                    });
                }
            }
            "ConfigMap" => {
                let data = part.read::<RawConfigMap>()?.data.unwrap_or_default();
                documents.push(Document::ConfigMap(part.texts(data)));
            }
            other => documents.push(Document::Other {
                kind: other.to_owned(),
                place,
            }),
        }
    }
    Ok(documents)
}

fn parts<'t>(file: &Rc<str>, text: &'t str) -> Vec<Part<'t>> {
    let mut parts = Vec::new();
    let (mut start, mut at, mut line, mut before) = (0, 0, 0_u32, 0_u32);
    let mut close = |from: usize, to: usize, before: u32| {
        let file = Rc::clone(file);
        let text = text.get(from..to).unwrap_or_default();
        parts.push(Part { file, text, before });
    };
    for whole in text.split_inclusive('\n') {
        let bare = whole.trim_end();
        line += 1;
        if bare == "---" || bare.starts_with("--- ") {
            close(start, at, before);
            (start, before) = (at + whole.len(), line);
        }
        at += whole.len();
    }
    close(start, text.len(), before);
    parts
}

impl Part<'_> {
    fn place(&self, line: u64, column: u64) -> Place {
        Place {
            file: Rc::clone(&self.file),
            line: u32::try_from(line.max(1))
                .unwrap_or(u32::MAX)
                .saturating_add(self.before),
            column: u32::try_from(column.max(1)).unwrap_or(u32::MAX),
        }
    }

    fn of<T>(&self, value: &Spanned<T>) -> Place {
        self.place(value.referenced.line(), value.referenced.column())
    }

    fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_saphyr::from_str(self.text).map_err(|error| {
            let at = error.location();
            Error::Syntax {
                place: at.map_or_else(|| self.place(1, 1), |at| self.place(at.line(), at.column())),
                message: error.to_string().lines().next().unwrap_or_default().to_owned(),
            }
        })
    }

    /// A block of text begins on the next line, set in.
    fn content(&self, place: &Place) -> Place {
        let mut lines = self
            .text
            .lines()
            .skip((place.line - self.before).saturating_sub(1) as usize);
        let indicator = lines
            .next()
            .and_then(|line| line.get(place.column.saturating_sub(1) as usize..))
            .unwrap_or_default();
        if !indicator.starts_with(['|', '>']) {
            return place.clone();
        }
        for (line, next) in (place.line + 1..).zip(lines) {
            if !next.trim().is_empty() {
                let indent = next.len() - next.trim_start().len();
                return Place {
                    line,
                    column: u32::try_from(indent + 1).unwrap_or(1),
                    ..place.clone()
                };
            }
        }
        place.clone()
    }

    fn texts(&self, raw: Strings) -> BTreeMap<String, Text> {
        let one = |(name, value): (String, Spanned<String>)| {
            let place = self.of(&value);
            let content = self.content(&place);
            let value = value.value;
            (name, Text { value, place, content })
        };
        raw.into_iter().map(one).collect()
    }

    fn ingress(&self, raw: RawIngress) -> Ingress {
        let place = raw.kind.as_ref().map_or_else(|| self.place(1, 1), |kind| self.of(kind));
        let mut rules: Vec<Rule> = raw
            .spec
            .rules
            .unwrap_or_default()
            .iter()
            .map(|rule| self.rule(rule))
            .collect();
        if let Some(backend) = &raw.spec.default_backend {
            let place = self.of(backend);
            let path = self.path(&backend.value, "/", "ImplementationSpecific", place.clone());
            rules.push(Rule {
                host: String::new(),
                place,
                paths: vec![path],
            });
        }
        let annotations = self.texts(raw.metadata.annotations.unwrap_or_default());
        let legacy = annotations
            .get("kubernetes.io/ingress.class")
            .map(|text| text.value.clone());
        Ingress {
            name: raw.metadata.name.unwrap_or_default(),
            namespace: raw.metadata.namespace.unwrap_or_else(|| "default".to_owned()),
            class: raw.spec.ingress_class_name.or(legacy),
            place,
            annotations,
            rules,
        }
    }

    fn rule(&self, raw: &Spanned<RawRule>) -> Rule {
        let paths = raw.value.http.paths.as_deref().unwrap_or_default();
        let one = |path: &Spanned<RawPath>| {
            let kind = path.value.path_type.as_deref().unwrap_or("ImplementationSpecific");
            let text = path
                .value
                .path
                .as_deref()
                .filter(|text| text.starts_with('/'))
                .unwrap_or("/");
            self.path(&path.value.backend, text, kind, self.of(path))
        };
        Rule {
            host: raw.value.host.clone().unwrap_or_default(),
            place: self.of(raw),
            paths: paths.iter().map(one).collect(),
        }
    }

    fn path(&self, backend: &RawBackend, path: &str, kind: &str, place: Place) -> Path {
        let port = &backend.service.port;
        let number = port.number.map(|number| number.to_string());
        Path {
            path: path.to_owned(),
            kind: kind.to_owned(),
            service: backend.service.name.clone(),
            port: number.or_else(|| port.name.clone()).unwrap_or_else(|| "80".to_owned()),
            place,
        }
    }
}
