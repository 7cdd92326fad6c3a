//! What makes an erasure certain: the responses to requests that are to happen once, when each kind of erasure last happened, and the
//! uploads that are still to be removed.

use sea_orm_migration::{
    prelude::*,
    sea_orm::DbBackend,
    sea_query::{ColumnDef, Index, Table},
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// When a subject's data was last erased, by kind; null for never.
const ERASED_AT: [&str; 8] = [
    "messages_erased_at",
    "texts_scrubbed_at",
    "dialogues_erased_at",
    "vault_erased_at",
    "memory_erased_at",
    "assistants_erased_at",
    "feedback_erased_at",
    "sessions_erased_at",
];

/// Of an upload that is to be removed; null for others.
const REMOVAL: [&str; 4] = ["removal_since", "removal_attempts", "removal_next_at", "removal_error"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let of_subjects = ERASED_AT.map(|name| integer(name).null().to_owned());
        add(manager, "subjects", integer("revision").not_null().default(0).to_owned()).await?;
        for column in of_subjects {
            add(manager, "subjects", column).await?;
        }
        // Of the uploads that are there already, nobody noted it.
        add(manager, "uploads", ColumnDef::new("has_content").boolean().not_null().default(true).to_owned()).await?;
        add(manager, "uploads", integer("content_begun_at").null().to_owned()).await?;
        let [since, attempts, next_at, error] = REMOVAL;
        add(manager, "uploads", integer(since).null().to_owned()).await?;
        add(manager, "uploads", ColumnDef::new(attempts).integer().null().to_owned()).await?;
        add(manager, "uploads", integer(next_at).null().to_owned()).await?;
        add(manager, "uploads", ColumnDef::new(error).text().null().to_owned()).await?;
        manager.create_index(due()).await?;
        manager.create_table(accepted_requests(manager.get_database_backend())).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("accepted_requests").to_owned()).await?;
        manager.drop_index(Index::drop().name("uploads_removal").table("uploads").to_owned()).await?;
        for column in REMOVAL.into_iter().chain(["content_begun_at", "has_content"]) {
            manager.alter_table(Table::alter().table("uploads").drop_column(column).to_owned()).await?;
        }
        for column in ERASED_AT.into_iter().chain(["revision"]) {
            manager.alter_table(Table::alter().table("subjects").drop_column(column).to_owned()).await?;
        }
        Ok(())
    }
}

/// One by one: SQLite adds no more columns at once.
async fn add(manager: &SchemaManager<'_>, table: &'static str, mut column: ColumnDef) -> Result<(), DbErr> {
    manager.alter_table(Table::alter().table(table).add_column(&mut column).to_owned()).await
}

fn integer(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).big_integer().to_owned()
}

/// The uploads that are to be removed: few, whoever they belong to.
fn due() -> IndexCreateStatement {
    let mut index = Index::create().name("uploads_removal").table("uploads").col("removal_next_at").to_owned();
    index.and_where(Expr::col("removal_next_at").is_not_null()).to_owned()
}

fn accepted_requests(backend: DbBackend) -> TableCreateStatement {
    let text = |name: &'static str| {
        let mut column = ColumnDef::new(name).text().not_null().to_owned();
        if backend == DbBackend::Postgres {
            column.extra("COLLATE \"C\"");
        }
        column
    };
    let mut table = Table::create()
        .table("accepted_requests")
        .col(text("application_id"))
        .col(text("request_id"))
        .col(ColumnDef::new("digest").blob().not_null())
        .col(ColumnDef::new("response").blob().not_null())
        .col(ColumnDef::new("is_final").boolean().not_null())
        .col(integer("accepted_at").not_null())
        .primary_key(Index::create().col("application_id").col("request_id"))
        .to_owned();
    if backend == DbBackend::Sqlite {
        table.extra("WITHOUT ROWID");
    }
    table
}
