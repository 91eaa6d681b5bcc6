//! The description of the API, made from its own types.

use axum::Json;
use utoipa::{
    Modify, OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use super::{batch, emit, history, inbox, nodes, rooms, users};

#[derive(OpenApi)]
#[openapi(
    info(title = "Switchboard administration"),
    paths(
        batch::batch,
        emit::emit,
        users::list,
        users::show,
        users::online,
        users::disconnect,
        users::join,
        users::leave,
        inbox::keep,
        inbox::list,
        inbox::delete,
        inbox::clear,
        history::show,
        rooms::show,
        rooms::disconnect,
        nodes::list,
    ),
    modifiers(&ApiKey),
    security((), ("api_key" = [])),
)]
struct Description;

/// The key, needed where `admin.api_keys` is set.
struct ApiKey;

impl Modify for ApiKey {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("api_key", SecurityScheme::Http(scheme));
    }
}

/// Serves the description.
pub(super) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(Description::openapi())
}
