//! The second wall, on PostgreSQL, where the operator wants it: row-level security refuses every statement that reaches a row of another
//! subject than the one it is for. See `docs/adr/row-level-security.md`.
//!
//! The policies refuse, and never filter: one that filters would make an export short without a word. So what they say of a row is true or
//! an error. They know the subject by name, from settings that are made anew with each transaction and each use of a connection for reading.

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, Statement,
    sqlx::{self, postgres::PgConnection},
};

use super::{Engine, Error, Repository, connect::ONE_AT_A_TIME, error::from_sqlx};
use crate::domain::{
    catalogue::{TABLES, Table, Whose},
    subject::{ApplicationId, Subject},
};

/// Whether row-level security stands before this program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RowSecurity {
    /// There is none.
    Absent,
    /// There is, and it does not bind this program's role, which owns the tables, or may pass everywhere.
    Unbound,
    /// There is, and it binds.
    Binding,
}

/// Which rows the statements that follow may reach.
#[derive(Clone, Copy)]
pub(super) enum Reach<'a> {
    /// Those of a subject.
    Subject(&'a Subject),
    /// For reading: which subjects an application has, and which of the uploads wait for their removal.
    Application(&'a ApplicationId),
    /// For reading: the uploads of all that wait for their removal, and whose they are.
    Removals,
}

/// Sets all that the policies look at: nothing that was set before stays.
const IN_SESSION: &str = "SELECT set_config('userdata.reach', $1, false), set_config('userdata.application_id', $2, false), \
                          set_config('userdata.user_token', $3, false)";
const IN_TRANSACTION: &str = "SELECT set_config('userdata.reach', $1, true), set_config('userdata.application_id', $2, true), \
                              set_config('userdata.user_token', $3, true)";

impl<'a> Reach<'a> {
    pub(super) fn application(self) -> Option<&'a ApplicationId> {
        match self {
            Self::Subject(subject) => Some(subject.application()),
            Self::Application(application) => Some(application),
            Self::Removals => None,
        }
    }

    /// No name is empty, so where there is none, nothing has it.
    fn settings(self) -> [&'a str; 3] {
        match self {
            Self::Subject(subject) => ["subject", subject.application().as_str(), subject.user_token().as_str()],
            Self::Application(application) => ["application", application.as_str(), ""],
            Self::Removals => ["removals", "", ""],
        }
    }

    /// Sets it for a connection, until it is set again.
    pub(super) async fn set_for(self, connection: &mut PgConnection) -> Result<(), Error> {
        let [reach, application_id, user_token] = self.settings();
        let set = sqlx::query(IN_SESSION).bind(reach).bind(application_id).bind(user_token).execute(connection);
        set.await.map(drop).map_err(|error| from_sqlx(&error))
    }

    /// Sets it for a transaction, which takes it along when it ends.
    pub(super) async fn set_within(self, transaction: &DatabaseTransaction) -> Result<(), Error> {
        let values = self.settings().map(Into::into);
        transaction.query_one_raw(Statement::from_sql_and_values(DbBackend::Postgres, IN_TRANSACTION, values)).await?;
        Ok(())
    }
}

/// Of the tables that the policies are for: how many there are, are walled, and walled from this role.
const FOUND: &str = "SELECT count(*), count(*) FILTER (WHERE relrowsecurity), count(*) FILTER (WHERE row_security_active(oid)) \
                     FROM pg_class WHERE oid IN (SELECT to_regclass(name) FROM unnest($1) AS name)";

/// Finds how row-level security stands to the role of a connection.
pub(super) async fn find(connection: &DatabaseConnection) -> Result<RowSecurity, Error> {
    let names: Vec<String> = TABLES.iter().filter(|table| policy(table).is_some()).map(|table| table.name.to_owned()).collect();
    let row = connection.query_one_raw(Statement::from_sql_and_values(DbBackend::Postgres, FOUND, [names.into()])).await?;
    let Some(row) = row else { return Ok(RowSecurity::Absent) };
    let [tables, walled, walled_from_us]: [i64; 3] = [row.try_get_by_index(0)?, row.try_get_by_index(1)?, row.try_get_by_index(2)?];
    match (walled, walled_from_us) {
        (0, _) => Ok(RowSecurity::Absent),
        (_, 0) => Ok(RowSecurity::Unbound),
        (_, all) if all == tables => Ok(RowSecurity::Binding),
        _ => Err(Error::HalfWalled),
    }
}

/// The policy of a table: of which rows something may be read, changed or deleted, and which may be written.
struct Policy {
    reached: String,
    written: String,
}

const APPLICATION: &str = "application_id = (SELECT current_setting('userdata.application_id', true))";
const USER: &str = "user_token = (SELECT current_setting('userdata.user_token', true))";
const REACH: &str = "(SELECT current_setting('userdata.reach', true))";

/// Once for each statement: `subjects` has an index for it, and a policy that lets only this one row pass.
const SUBJECT: &str = "subject_id = (SELECT id FROM subjects WHERE application_id = current_setting('userdata.application_id', true) \
                       AND user_token = current_setting('userdata.user_token', true))";

fn policy(table: &Table) -> Option<Policy> {
    let (reached, written) = match (table.whose, table.name) {
        (Whose::Subject, "uploads") => {
            let waiting = format!("removal_next_at IS NOT NULL AND {REACH} IN ('application', 'removals')");
            (format!("{SUBJECT} OR {waiting}"), SUBJECT.to_owned())
        }
        (Whose::Subject, _) => (SUBJECT.to_owned(), SUBJECT.to_owned()),
        (Whose::Subjects, _) => {
            let of_any = format!("{APPLICATION} AND ({USER} OR {REACH} = 'application') OR {REACH} = 'removals'");
            (of_any, format!("{APPLICATION} AND {USER}"))
        }
        (Whose::Application, "accepted_requests") => (APPLICATION.to_owned(), APPLICATION.to_owned()),
        (Whose::Application | Whose::Service, _) => return None,
    };
    Some(Policy { reached, written })
}

/// What the service does to a table.
fn privileges(table: &Table) -> &'static str {
    match (table.whose, table.name) {
        (Whose::Subject, _) if !table.removed_by.is_empty() => "SELECT, INSERT, UPDATE, DELETE",
        (Whose::Subject | Whose::Subjects, _) | (_, "accepted_requests") => "SELECT, INSERT, UPDATE",
        (Whose::Application | Whose::Service, _) => "SELECT",
    }
}

/// Its cost has PostgreSQL ask it last, and prefer an index to a scan in which it would be asked often.
const REFUSE: &str = "CREATE OR REPLACE FUNCTION userdata_refuse() RETURNS boolean LANGUAGE plpgsql VOLATILE COST 100 AS \
    'BEGIN RAISE EXCEPTION ''a statement has reached a row that is not of the subject it is for'' USING ERRCODE = ''42501''; END'";

/// A role's and the schema's name as statements spell them, and whether the role could pass the policies.
const ROLE: &str = "SELECT quote_ident(rolname), quote_ident(current_schema()), rolsuper OR rolbypassrls OR \
                    pg_has_role(pg_roles.oid, relowner, 'MEMBER') FROM pg_roles, pg_class WHERE rolname = $1 AND pg_class.oid = to_regclass('subjects')";

impl Repository {
    /// How row-level security stood to this program's role when the database was opened.
    pub fn row_security(&self) -> RowSecurity {
        self.row_security
    }

    /// Lets a role do what the service does, and no more, and has row-level security bind every role but the tables' owner: all of it, or
    /// nothing. The schema is up to date.
    ///
    /// # Errors
    /// [`Error::NoServiceRole`] when the role is not there, or the policies would not bind it; others when the database refuses.
    pub async fn wall_off(&self, service_role: &str) -> Result<(), Error> {
        if self.engine == Engine::Sqlite {
            return Err(Error::NoServiceRole("SQLite has no roles"));
        }
        let transaction = self.begin().await?;
        let found = Statement::from_sql_and_values(DbBackend::Postgres, ROLE, [service_role.into()]);
        let row = transaction.query_one_raw(found).await?.ok_or(Error::NoServiceRole("there is no such role; create it first"))?;
        let (role, schema): (String, String) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        if row.try_get_by_index(2)? {
            return Err(Error::NoServiceRole("it owns the tables or may bypass row-level security, which would not bind it"));
        }
        transaction.execute_unprepared(ONE_AT_A_TIME).await?;
        transaction.execute_unprepared(REFUSE).await?;
        transaction.execute_unprepared(&format!("GRANT USAGE ON SCHEMA {schema} TO {role}")).await?;
        transaction.execute_unprepared(&format!("GRANT USAGE ON SEQUENCE subjects_id_seq TO {role}")).await?;
        for table in TABLES {
            let (name, privileges) = (table.name, privileges(table));
            let grant = format!("REVOKE ALL ON {name} FROM {role}; GRANT {privileges} ON {name} TO {role}");
            transaction.execute_unprepared(&grant).await?;
            if let Some(Policy { reached, written }) = policy(table) {
                // Without `IS NOT NULL`, PostgreSQL would expect a third of the rows, and rather sort them than read them in order.
                let wall = format!(
                    "ALTER TABLE {name} ENABLE ROW LEVEL SECURITY; DROP POLICY IF EXISTS userdata_wall ON {name}; \
                     CREATE POLICY userdata_wall ON {name} USING (({reached} OR userdata_refuse()) IS NOT NULL) \
                     WITH CHECK (({written} OR userdata_refuse()) IS NOT NULL)"
                );
                transaction.execute_unprepared(&wall).await?;
            }
        }
        Ok(transaction.commit().await?)
    }
}
