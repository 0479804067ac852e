//! Sixty products, made by rule.

use serde::Serialize;

const ADJECTIVES: [&str; 6] = ["quiet", "sturdy", "bright", "light", "warm", "swift"];
const NOUNS: [&str; 10] = [
    "lamp", "chair", "kettle", "desk", "jacket", "bottle", "clock", "bag", "shelf", "radio",
];

/// One product.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Product {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) price_cents: u32,
    pub(crate) stock: u32,
    pub(crate) description: String,
}

/// Products are numbered from 1.
pub(crate) fn product(id: u32) -> Option<Product> {
    let index = usize::try_from(id.checked_sub(1)?).ok()?;
    let adjective = ADJECTIVES.get(index / NOUNS.len())?;
    let noun = NOUNS.get(index % NOUNS.len())?;
    Some(Product {
        id,
        name: format!("{adjective} {noun}"),
        price_cents: 900 + (id * 7_919) % 24_000,
        stock: (id * 31) % 120,
        description: format!("A {adjective} {noun}, made to be used every day and repaired when it breaks."),
    })
}

/// All products.
pub(crate) fn all() -> Vec<Product> {
    (1..).map_while(product).collect()
}

/// Products whose name holds every word of `words`.
pub(crate) fn search(words: &str) -> Vec<Product> {
    let words = words.to_lowercase();
    let fits = |product: &Product| words.split_whitespace().all(|word| product.name.contains(word));
    all().into_iter().filter(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixty_products_and_no_more() {
        assert_eq!(all().len(), 60);
        assert!(product(0).is_none() && product(61).is_none());
        assert_eq!(search("Warm LAMP").len(), 1);
    }
}
