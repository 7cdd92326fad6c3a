//! The schema of `userdata`, up and down, on SQLite and PostgreSQL. It cannot see the service: what was migrated once stays as it was.

pub use sea_orm_migration::{MigrationTrait, MigratorTrait, SchemaManager};

mod m0001_create_tables;
mod m0002_record_erasures;

/// All migrations, oldest first.
#[derive(Debug)]
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(m0001_create_tables::Migration), Box::new(m0002_record_erasures::Migration)]
    }
}
