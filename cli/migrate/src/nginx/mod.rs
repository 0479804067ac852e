//! nginx's configuration as a tree of directives.

pub(crate) mod token;
pub(crate) mod tree;
