//! What nginx asks before it answers, from its cache as well.

use crate::nginx::tree::Directive;
use crate::scope::Scope;

/// Who gets an answer at all.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Guard<'a> {
    /// Everybody.
    Open,
    /// Nobody: there is nothing to share.
    Closed(&'a Directive),
    /// Whoever passes a check that no setting holds.
    Checked(&'a Directive),
}

/// Directives that ask who a client is, or that answer otherwise than by a proxy's response.
const CHECKS: [&str; 12] = [
    "ssl_verify_client",
    "auth_basic",
    "auth_request",
    "auth_jwt",
    "auth_ldap",
    "auth_oidc",
    "secure_link",
    "access_by_lua_block",
    "access_by_lua_file",
    "access_by_lua",
    "rewrite_by_lua_block",
    "rewrite_by_lua_file",
];

/// The guard of a location.
pub(crate) fn of<'a>(scope: &Scope<'a>) -> Guard<'a> {
    for name in CHECKS {
        if let Some(directive) = scope
            .one(name)
            .filter(|directive| !["off", "optional", "optional_no_ca"].contains(&directive.first()))
        {
            return Guard::Checked(directive);
        }
    }
    // nginx looks at both lists of the innermost block that has either.
    let levels = scope.levels().iter().rev();
    let lists = |items: &&'a [Directive]| -> Vec<&'a Directive> {
        let is_list = |item: &&Directive| item.name == "allow" || item.name == "deny";
        items.iter().filter(is_list).collect()
    };
    let list: Vec<&Directive> = levels.map(lists).find(|list| !list.is_empty()).unwrap_or_default();
    match list.as_slice() {
        [] => {}
        [first, ..] if first.first() == "all" && first.name == "allow" => {}
        [first, ..] if first.first() == "all" && first.name == "deny" => return Guard::Closed(first),
        [first, ..] => return Guard::Checked(first),
    }
    let own = |name: &str| scope.own().iter().find(|item| item.name == name);
    if let Some(directive) = own("internal") {
        return Guard::Closed(directive);
    }
    if let Some(directive) = own("limit_except") {
        return Guard::Checked(directive);
    }
    Guard::Open
}

/// What makes a location go another way for some requests: an `if` that does more than set a variable or answer, or a rewrite that
/// chooses another location.
pub(crate) fn detour<'a>(scope: &Scope<'a>) -> Option<&'a Directive> {
    let levels = scope.levels();
    // Those of the http block do not exist; those of the server hold before a location is chosen.
    let blocks = levels.iter().skip(1);
    blocks
        .flat_map(|items| items.iter())
        .find(|item| match item.name.as_str() {
            "rewrite" => leads_elsewhere(item),
            "if" => item.children().iter().any(|inner| !is_harmless(inner)),
            _ => false,
        })
}

fn leads_elsewhere(rewrite: &Directive) -> bool {
    let target = rewrite.args.get(1).map_or("", String::as_str);
    let flag = rewrite.args.get(2).map_or("", String::as_str);
    let answers = ["http://", "https://", "$scheme"]
        .iter()
        .any(|start| target.starts_with(start));
    !answers && !matches!(flag, "break" | "redirect" | "permanent")
}

/// What an `if` may hold without another policy for the cache.
fn is_harmless(inner: &Directive) -> bool {
    match inner.name.as_str() {
        "set" | "return" | "break" | "add_header" | "access_log" | "limit_rate" | "expires" | "include" => true,
        "rewrite" => !leads_elsewhere(inner),
        _ => false,
    }
}
