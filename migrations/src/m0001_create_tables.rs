//! Subjects, their records, and API keys.
//!
//! Every personal table has the subject first in its primary key, then the order in which an export reads it: one subject's rows lie
//! together, an export is a few range scans and an erasure a range delete. Ids are unique within their subject by an index of their own.
//! Times are nanoseconds since the Unix epoch. There are no foreign keys, cascades or triggers: children are deleted by subject range.

use sea_orm_migration::{
    prelude::*,
    sea_orm::DbBackend,
    sea_query::{ColumnDef, Index, Table, TableCreateStatement},
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// The personal tables.
const PERSONAL: [&str; 9] =
    ["conversations", "messages", "feedback", "memories", "uploads", "upload_embeddings", "assistants", "sessions", "compaction_cache"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let schema = Schema { backend: manager.get_database_backend() };
        for table in schema.tables() {
            manager.create_table(table).await?;
        }
        for index in indexes() {
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in PERSONAL.into_iter().chain(["subjects", "api_keys"]) {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        Ok(())
    }
}

struct Schema {
    backend: DbBackend,
}

impl Schema {
    fn tables(&self) -> Vec<TableCreateStatement> {
        vec![
            self.subjects(),
            self.personal("conversations", &["created_at", "id"], |table| {
                table.col(self.text("agent_id")).col(self.text("title").null()).col(integer("updated_at"));
                table.col(integer("last_activity_at").null()).col(ColumnDef::new("is_from_dashboard").boolean().not_null());
                for count in ["message_count", "total_input_tokens", "total_output_tokens", "total_tokens"] {
                    table.col(ColumnDef::new(count).integer().not_null());
                }
                table.col(ColumnDef::new("has_metadata").boolean().not_null()).col(integer("metadata_cached_at").null());
                table.col(self.text("institution_id").null()).col(integer("forgotten_at").null());
            }),
            self.personal("messages", &["conversation_created_at", "conversation_id", "created_at", "id"], |table| {
                table.col(integer("conversation_created_at")).col(self.text("conversation_id"));
                table.col(ColumnDef::new("body").blob().not_null()).col(ColumnDef::new("digest").blob().not_null());
            }),
            self.personal("feedback", &["created_at", "id"], |table| {
                table.col(integer("conversation_created_at").null()).col(self.text("conversation_id").null());
                table.col(self.text("agent_id")).col(self.text("message_id")).col(ColumnDef::new("vote").integer().not_null());
                table.col(json("tags")).col(self.text("notes").null()).col(self.text("model").null());
                table.col(integer("updated_at")).col(integer("deleted_at").null());
            }),
            self.personal("memories", &["created_at", "id"], |table| {
                table.col(self.text("object_id").null()).col(self.text("text")).col(self.text("raw_extract"));
                table.col(self.text("memory_type").null()).col(json("episode").null());
                for list in ["keywords", "topics", "tags", "recall_triggers", "agent_ids"] {
                    table.col(json(list));
                }
                table.col(self.text("app_id")).col(self.text("user_id")).col(self.text("institution_id").null());
                table.col(integer("updated_at"));
            }),
            self.personal("uploads", &["created_at", "id"], |table| {
                table.col(self.text("file_name")).col(self.text("content_type")).col(integer("size_bytes"));
                table.col(self.text("status")).col(self.text("institution_id").null()).col(integer("deleted_at").null());
            }),
            self.upload_embeddings(),
            self.personal("assistants", &["created_at", "id"], |table| {
                table.col(self.text("name")).col(self.text("description").null()).col(self.text("instructions").null());
                table.col(self.text("status")).col(self.text("institution_id").null());
                table.col(integer("updated_at")).col(integer("deleted_at").null());
            }),
            self.personal("sessions", &["created_at", "id"], |table| {
                table.col(self.text("ip_address")).col(self.text("user_agent")).col(self.text("device"));
                table.col(integer("last_active_at").null());
            }),
            self.personal("compaction_cache", &["created_at", "id"], |table| {
                table.col(self.text("conversation_id")).col(self.text("text"));
            }),
            self.api_keys(),
        ]
    }

    fn subjects(&self) -> TableCreateStatement {
        Table::create()
            .table("subjects")
            .col(ColumnDef::new("id").big_integer().not_null().auto_increment().primary_key())
            .col(self.text("application_id"))
            .col(self.text("user_token"))
            .col(integer("epoch"))
            .col(integer("created_at"))
            .to_owned()
    }

    /// A table of records: subject, creation time, id, `columns`; its primary key the subject and `order`.
    fn personal(
        &self,
        name: &'static str,
        order: &[&'static str],
        columns: impl FnOnce(&mut TableCreateStatement),
    ) -> TableCreateStatement {
        let mut table = Table::create().table(name).col(integer("subject_id")).to_owned();
        columns(&mut table);
        table.col(integer("created_at")).col(self.text("id"));
        self.clustered(table, order)
    }

    fn upload_embeddings(&self) -> TableCreateStatement {
        let table = Table::create()
            .table("upload_embeddings")
            .col(integer("subject_id"))
            .col(self.text("upload_id"))
            .col(ColumnDef::new("chunk_index").integer().not_null())
            .col(self.text("model"))
            .col(ColumnDef::new("vector").blob().not_null())
            .to_owned();
        self.clustered(table, &["upload_id", "chunk_index"])
    }

    fn clustered(&self, mut table: TableCreateStatement, order: &[&'static str]) -> TableCreateStatement {
        let mut key = Index::create().col("subject_id").to_owned();
        for column in order {
            key.col(*column);
        }
        table.primary_key(&mut key);
        if self.backend == DbBackend::Sqlite {
            // The rows themselves in the order of the primary key; PostgreSQL has no such tables.
            table.extra("WITHOUT ROWID");
        }
        table
    }

    fn api_keys(&self) -> TableCreateStatement {
        Table::create()
            .table("api_keys")
            .col(self.text("id").primary_key())
            .col(self.text("application_id"))
            .col(ColumnDef::new("digest").blob().not_null())
            .col(self.text("permissions"))
            .col(integer("created_at"))
            .col(integer("expires_at").null())
            .col(integer("revoked_at").null())
            .to_owned()
    }

    /// A text that compares by its bytes on both engines, so that both export in the same order.
    fn text(&self, name: &'static str) -> ColumnDef {
        let mut column = ColumnDef::new(name).text().not_null().to_owned();
        if self.backend == DbBackend::Postgres {
            column.extra("COLLATE \"C\"");
        }
        column
    }
}

/// A 64-bit integer, not null unless made so.
fn integer(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).big_integer().not_null().to_owned()
}

/// JSON as text, never queried inside.
fn json(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).json().not_null().to_owned()
}

fn indexes() -> Vec<IndexCreateStatement> {
    let unique = |table: &'static str, columns: [&'static str; 2]| {
        let [first, second] = columns;
        Index::create().unique().name(format!("{table}_{first}_{second}")).table(table).col(first).col(second).to_owned()
    };
    let mut indexes = vec![unique("subjects", ["application_id", "user_token"])];
    indexes.extend(PERSONAL.into_iter().filter(|table| *table != "upload_embeddings").map(|table| unique(table, ["subject_id", "id"])));
    let names = unique("assistants", ["subject_id", "name"]).and_where(Expr::col("deleted_at").is_null()).to_owned();
    indexes.push(names);
    let mut nested = Index::create().name("feedback_in_conversation").table("feedback").col("subject_id").to_owned();
    for column in ["conversation_created_at", "conversation_id", "created_at", "id"] {
        nested.col(column);
    }
    indexes.push(nested);
    indexes
}
