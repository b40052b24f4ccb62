//! An instance as a cloud lists it.

/// One managed Redis instance; fields that the cloud omits are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instance {
    pub id: String,
    pub name: Option<String>,
    pub region: Option<String>,
    /// Status as the cloud reports it, such as `Running`; an open set.
    pub status: Option<String>,
    /// Class as the cloud reports it: `PrimarySecondary`, `Standalone` or another value.
    pub class: Option<String>,
    pub engine_version: Option<String>,
    pub project_name: Option<String>,
    /// Keys and values.
    pub tags: Vec<(String, String)>,
}
