//! Tencent's part of the admin API, under `/admin/tencent`.

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::routing::get;
use bytes::Bytes;

use crate::admin::{BackupQuery, Handle, Reply, done, read, read_with_id, show};
use crate::simulator::Simulator;

pub(crate) fn router() -> Router<Simulator> {
    Router::new()
        .route("/admin/tencent/instances", get(instances))
        .route(
            "/admin/tencent/instances/{id}",
            get(instance).put(put_instance).patch(patch_instance).delete(remove_instance),
        )
        .route("/admin/tencent/backups", get(backups))
        .route(
            "/admin/tencent/backups/{id}",
            get(backup).put(put_backup).patch(patch_backup).delete(remove_backup),
        )
}

async fn instances(State(simulator): Handle) -> Reply {
    show(simulator.tencent_instances())
}

async fn instance(State(simulator): Handle, Path(id): Path<String>) -> Reply {
    show(simulator.tencent_instance(&id)?)
}

async fn put_instance(State(simulator): Handle, Path(id): Path<String>, body: Bytes) -> Reply {
    done(simulator.put_tencent_instance(read_with_id(&body, "instanceId", &id)?))
}

async fn patch_instance(State(simulator): Handle, Path(id): Path<String>, body: Bytes) -> Reply {
    show(simulator.patch_tencent_instance(&id, read(&body)?)?)
}

async fn remove_instance(State(simulator): Handle, Path(id): Path<String>) -> Reply {
    done(simulator.remove_tencent_instance(&id))
}

async fn backups(State(simulator): Handle, Query(query): Query<BackupQuery>) -> Reply {
    let mut backups = simulator.tencent_backups();
    if let Some(id) = query.instance_id {
        backups.retain(|backup| backup.instance_id == id);
    }
    show(backups)
}

async fn backup(State(simulator): Handle, Path(id): Path<String>) -> Reply {
    show(simulator.tencent_backup(&id)?)
}

async fn put_backup(State(simulator): Handle, Path(id): Path<String>, body: Bytes) -> Reply {
    done(simulator.put_tencent_backup(read_with_id(&body, "backupId", &id)?))
}

async fn patch_backup(State(simulator): Handle, Path(id): Path<String>, body: Bytes) -> Reply {
    show(simulator.patch_tencent_backup(&id, read(&body)?)?)
}

async fn remove_backup(State(simulator): Handle, Path(id): Path<String>) -> Reply {
    done(simulator.remove_tencent_backup(&id))
}
