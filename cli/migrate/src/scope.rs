//! Which directives hold for a location: its own, else those of the block around it, and so on outwards.

use crate::nginx::tree::Directive;

/// The blocks around a place, the outermost first.
#[derive(Clone, Debug)]
pub(crate) struct Scope<'a> {
    levels: Vec<&'a [Directive]>,
}

impl<'a> Scope<'a> {
    /// Of the outermost block.
    pub(crate) fn of(items: &'a [Directive]) -> Self {
        Self { levels: vec![items] }
    }

    /// The same with a block within.
    pub(crate) fn within(&self, items: &'a [Directive]) -> Self {
        let mut levels = self.levels.clone();
        levels.push(items);
        Self { levels }
    }

    /// The directives of a name that hold: those of the innermost block that has any. nginx inherits lists as a whole.
    pub(crate) fn all(&self, name: &str) -> Vec<&'a Directive> {
        let of_level =
            |items: &&'a [Directive]| -> Vec<&'a Directive> { items.iter().filter(|item| item.name == name).collect() };
        let mut levels = self.levels.iter().rev();
        levels
            .find_map(|items| Some(of_level(items)).filter(|found| !found.is_empty()))
            .unwrap_or_default()
    }

    /// The directive of a name that holds.
    pub(crate) fn one(&self, name: &str) -> Option<&'a Directive> {
        self.all(name).into_iter().next_back()
    }

    /// The first argument of the directive that holds.
    pub(crate) fn first(&self, name: &str) -> Option<&'a str> {
        self.one(name).map(Directive::first)
    }

    /// Whether a flag is on.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.first(name) == Some("on")
    }

    /// The innermost block.
    pub(crate) fn own(&self) -> &'a [Directive] {
        self.levels.last().copied().unwrap_or_default()
    }

    /// All levels, the outermost first.
    pub(crate) fn levels(&self) -> &[&'a [Directive]] {
        &self.levels
    }
}
