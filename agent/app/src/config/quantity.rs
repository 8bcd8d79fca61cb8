//! Amounts of memory, as Kubernetes writes them: `256Mi`.

use serde::{Deserialize, Deserializer, de::Error};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity(usize);

/// `Ki` is 2¹⁰ bytes, and so on.
const UNITS: [(&str, u32); 4] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40)];

// === impl Quantity ===

impl Quantity {
    pub fn bytes(self) -> usize {
        self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let (digits, shift) = UNITS
            .into_iter()
            .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift)))
            .unwrap_or((text, 0));
        // `parse` would take a sign too.
        let number: usize = digits.parse().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))?;
        number.checked_mul(1_usize.checked_shl(shift)?).map(Self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| D::Error::custom(format!("{text:?} is no amount of memory; write it like 256Mi")))
    }
}

#[cfg(test)]
mod tests;
