//! Small numbers for names that repeat: routes and upstreams.

/// A name's number in its [`Names`] table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(u16);

/// Names a table holds at most; what comes later shares the first one's place, named `other`. Routes come from the settings
/// and upstreams from Envoy's clusters, so only a misconfiguration gets here.
const MAX_NAMES: usize = 512;

/// A bounded table of names.
#[derive(Debug)]
pub(super) struct Names {
    names: Vec<String>,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            names: vec!["other".to_owned()],
        }
    }
}

impl Names {
    pub(super) fn number(&mut self, name: &str) -> Name {
        let known = self.names.iter().position(|known| known == name);
        let index = known.unwrap_or_else(|| {
            if self.names.len() >= MAX_NAMES {
                return 0;
            }
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        Name(u16::try_from(index).unwrap_or(0))
    }

    pub(super) fn name(&self, name: Name) -> &str {
        self.names.get(usize::from(name.0)).map_or("other", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_number_and_the_table_is_bounded() {
        let mut names = Names::default();
        let first = names.number("a");
        assert_eq!(names.number("a"), first);
        assert_eq!(names.name(first), "a");
        for index in 0..1000 {
            names.number(&index.to_string());
        }
        let late = names.number("late");
        assert_eq!(names.name(late), "other");
    }
}
