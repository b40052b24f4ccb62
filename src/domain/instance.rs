//! An instance as a cloud lists it.

/// One managed Redis instance; what the cloud leaves out is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instance {
    pub id: String,
    pub name: Option<String>,
    pub region: Option<String>,
    /// The cloud's own word, such as `Running`; an open set.
    pub status: Option<String>,
    /// The cloud's own word: `PrimarySecondary`, `Standalone`, or what else it says.
    pub class: Option<String>,
    pub engine_version: Option<String>,
    pub project_name: Option<String>,
    /// Keys and values.
    pub tags: Vec<(String, String)>,
}
