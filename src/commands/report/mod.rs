//! `report`: which instances are protected, since when, to where. What it tells is pure data; each form of output is a function of it.

mod data;
mod html;
pub mod model;
mod text;

pub use data::{to_csv, to_json};
pub use html::html;
pub use text::text;

#[cfg(test)]
mod tests;
