//! The admin API under `/admin`: the methods of [`Simulator`] over HTTP, unsigned.
//! The README shows each call.

use std::collections::BTreeSet;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use bytes::Bytes;
use http::{StatusCode, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::faults::FaultSpec;
use crate::model::{AccountSpec, KeyStatus, Policy, RateLimit, Seed};
use crate::simulator::{AdminError, Simulator};
use crate::tencent;

pub(crate) type Reply = Result<Json, AdminError>;
pub(crate) type Handle = State<Simulator>;

/// A JSON response.
pub(crate) struct Json(Value);

impl IntoResponse for Json {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/json")], self.0.to_string()).into_response()
    }
}

impl IntoResponse for AdminError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
        };
        (status, Json(json!({ "error": self.to_string() }))).into_response()
    }
}

pub(crate) fn router() -> Router<Simulator> {
    Router::new()
        .route("/admin/reset", post(reset))
        .route("/admin/seed", post(seed))
        .route("/admin/settings", put(put_settings))
        .route("/admin/accounts/{id}", put(put_account))
        .route("/admin/keys", get(keys))
        .route("/admin/keys/{id}", put(put_key).delete(remove_key))
        .route("/admin/keys/{id}/{verb}", post(change_key))
        .route("/admin/roles", get(roles).put(put_role).delete(remove_role))
        .route("/admin/instances", get(instances))
        .route(
            "/admin/instances/{id}",
            get(instance).put(put_instance).patch(patch_instance).delete(remove_instance),
        )
        .route("/admin/instances/{id}/policy", get(policy).put(put_policy))
        .route("/admin/backups", get(backups))
        .route("/admin/backups/{id}", put(put_backup).patch(patch_backup).delete(remove_backup))
        .route("/admin/faults", get(faults).post(place_fault).delete(clear_faults))
        .route("/admin/faults/{id}", axum::routing::delete(remove_fault))
        .route("/admin/counters", get(counters))
        .route("/admin/counters/reset", post(reset_counters))
        .route("/admin/requests", get(requests))
        .merge(tencent::admin::router())
}

/// Parses the body with any Content-Type; an empty one is an empty object.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, AdminError> {
    let body = if body.is_empty() { b"{}" } else { body };
    // serde would accept an array as the fields in their order.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(AdminError::Invalid("the body must be a JSON object".into()));
    }
    serde_json::from_slice(body).map_err(|error| match serde_json::from_slice::<Value>(body) {
        Ok(value) => invalid_field_error::<T>(value, &error),
        Err(_) => AdminError::Invalid(error.to_string()),
    })
}

/// Returns an error that names the invalid field, where serde's does not.
fn invalid_field_error<T: DeserializeOwned>(value: Value, error: &serde_json::Error) -> AdminError {
    let field = invalid_field(value, &|value| {
        serde_json::from_value::<T>(value).err().map(|error| error.to_string())
    });
    AdminError::Invalid(match field {
        Some(field) if !error.to_string().contains(&format!("`{field}`")) => format!("{field}: {error}"),
        _ => error.to_string(),
    })
}

/// Returns the path of the field without which a value is refused for another reason, or not at all.
fn invalid_field(value: Value, refusal: &dyn Fn(Value) -> Option<String>) -> Option<String> {
    let message = refusal(value.clone())?;
    let fields = value.as_object()?;
    let name = fields.keys().find(|name| {
        let mut others = fields.clone();
        others.remove(*name);
        refusal(Value::Object(others)).as_ref() != Some(&message)
    })?;
    let within = |inner: Value| {
        let mut outer = fields.clone();
        outer.insert(name.clone(), inner);
        refusal(Value::Object(outer))
    };
    match invalid_field(fields[name].clone(), &within) {
        Some(inner) => Some(format!("{name}.{inner}")),
        None => Some(name.clone()),
    }
}

/// Parses the body of a PUT, with the id from its path in `field`.
pub(crate) fn read_with_id<T: DeserializeOwned>(body: &[u8], field: &str, id: &str) -> Result<T, AdminError> {
    let mut fields: serde_json::Map<String, Value> = read(body)?;
    fields.insert(field.to_owned(), json!(id));
    let value = Value::Object(fields);
    T::deserialize(&value).map_err(|error| invalid_field_error::<T>(value.clone(), &error))
}

pub(crate) fn show(value: impl Serialize) -> Reply {
    serde_json::to_value(value).map(Json).map_err(|error| AdminError::Invalid(error.to_string()))
}

pub(crate) fn done(result: Result<(), AdminError>) -> Reply {
    result.map(|()| Json(json!({ "ok": true })))
}

async fn reset(State(simulator): Handle) -> Reply {
    simulator.reset();
    done(Ok(()))
}

async fn seed(State(simulator): Handle, body: Bytes) -> Reply {
    done(simulator.seed(read::<Seed>(&body)?))
}

async fn put_settings(State(simulator): Handle, body: Bytes) -> Reply {
    simulator.set_settings(read(&body)?);
    done(Ok(()))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AccountBody {
    rate_limit: Option<RateLimit>,
}

async fn put_account(State(simulator): Handle, Path(account_id): Path<u64>, body: Bytes) -> Reply {
    let AccountBody { rate_limit } = read(&body)?;
    simulator.put_account(AccountSpec { account_id, rate_limit });
    done(Ok(()))
}

async fn keys(State(simulator): Handle) -> Reply {
    show(simulator.keys())
}

async fn put_key(State(simulator): Handle, Path(id): Path<String>, body: Bytes) -> Reply {
    done(simulator.put_key(read_with_id(&body, "accessKeyId", &id)?))
}

async fn remove_key(State(simulator): Handle, Path(id): Path<String>) -> Reply {
    done(simulator.remove_key(&id))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Actions {
    actions: BTreeSet<String>,
}

async fn change_key(
    State(simulator): Handle,
    Path((id, verb)): Path<(String, String)>,
    body: Bytes,
) -> Reply {
    done(match verb.as_str() {
        "activate" => simulator.set_key_status(&id, KeyStatus::Active),
        "deactivate" => simulator.set_key_status(&id, KeyStatus::Inactive),
        "revoke" => simulator.set_key_status(&id, KeyStatus::Revoked),
        "rotate" => simulator.rotate_key(&id, read(&body)?),
        "deny" => simulator.deny(&id, read::<Actions>(&body)?.actions),
        "allow" => simulator.allow(&id, read::<Actions>(&body)?.actions),
        _ => Err(AdminError::NotFound(format!("key operation {verb}"))),
    })
}

async fn roles(State(simulator): Handle) -> Reply {
    show(simulator.roles())
}

/// The name is in the body because it has slashes and colons.
async fn put_role(State(simulator): Handle, body: Bytes) -> Reply {
    done(simulator.put_role(read(&body)?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleName {
    role: String,
}

async fn remove_role(State(simulator): Handle, body: Bytes) -> Reply {
    done(simulator.remove_role(&read::<RoleName>(&body)?.role))
}

async fn instances(State(simulator): Handle) -> Reply {
    show(simulator.instances())
}

async fn instance(State(simulator): Handle, Path(id): Path<String>) -> Reply {
    show(simulator.instance(&id)?)
}

async fn put_instance(State(simulator): Handle, Path(id): Path<String>, body: Bytes) -> Reply {
    done(simulator.put_instance(read_with_id(&body, "instanceId", &id)?))
}

async fn patch_instance(State(simulator): Handle, Path(id): Path<String>, body: Bytes) -> Reply {
    show(simulator.patch_instance(&id, read(&body)?)?)
}

async fn remove_instance(State(simulator): Handle, Path(id): Path<String>) -> Reply {
    done(simulator.remove_instance(&id))
}

async fn policy(State(simulator): Handle, Path(id): Path<String>) -> Reply {
    show(simulator.policy(&id)?)
}

async fn put_policy(State(simulator): Handle, Path(id): Path<String>, body: Bytes) -> Reply {
    done(simulator.set_policy(&id, read::<Policy>(&body)?))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct BackupQuery {
    pub instance_id: Option<String>,
}

async fn backups(State(simulator): Handle, Query(query): Query<BackupQuery>) -> Reply {
    let mut backups = simulator.backups();
    if let Some(id) = query.instance_id {
        backups.retain(|backup| backup.spec.instance_id == id);
    }
    show(backups)
}

async fn put_backup(State(simulator): Handle, Path(id): Path<String>, body: Bytes) -> Reply {
    done(simulator.put_backup(read_with_id(&body, "backupPointId", &id)?))
}

async fn patch_backup(State(simulator): Handle, Path(id): Path<String>, body: Bytes) -> Reply {
    done(simulator.patch_backup(&id, read(&body)?))
}

async fn remove_backup(State(simulator): Handle, Path(id): Path<String>) -> Reply {
    done(simulator.remove_backup(&id))
}

async fn faults(State(simulator): Handle) -> Reply {
    show(simulator.faults())
}

async fn place_fault(State(simulator): Handle, body: Bytes) -> Reply {
    let id = simulator.place_fault(read::<FaultSpec>(&body)?)?;
    show(json!({ "id": id }))
}

async fn clear_faults(State(simulator): Handle) -> Reply {
    simulator.clear_faults();
    done(Ok(()))
}

async fn remove_fault(State(simulator): Handle, Path(id): Path<u64>) -> Reply {
    done(simulator.remove_fault(id))
}

async fn counters(State(simulator): Handle) -> Reply {
    show(simulator.counters())
}

async fn reset_counters(State(simulator): Handle) -> Reply {
    simulator.reset_counters();
    done(Ok(()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Last {
    last: Option<usize>,
}

async fn requests(State(simulator): Handle, Query(Last { last }): Query<Last>) -> Reply {
    let mut requests = simulator.requests();
    let skipped = requests.len().saturating_sub(last.unwrap_or(usize::MAX));
    requests.drain(..skipped);
    show(requests)
}
