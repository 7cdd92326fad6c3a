//! API keys. They belong to applications, not to users, so these functions alone take no subject.

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, FromQueryResult, IdenStatic, QueryFilter, QueryOrder, QueryTrait,
    sea_query::{Expr, ExprTrait, SelectStatement},
};

use super::{
    Error, Repository,
    entity::api_key::{ActiveModel, Column, Entity, Model},
};
use crate::domain::{
    api_key::{ApiKey, ApiKeyDigest, ApiKeyId},
    subject::ApplicationId,
    timestamp::Timestamp,
};

/// Keys in the database. One that cannot be read does not keep the others from being read.
#[derive(Debug, Default)]
pub struct ApiKeys {
    /// Those that can be read.
    pub keys: Vec<ApiKey>,
    /// The others: nobody is admitted by them.
    pub unreadable: Vec<UnreadableApiKey>,
}

/// A key in the database that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnreadableApiKey {
    /// Its id, if that can be read.
    pub id: Option<ApiKeyId>,
    /// What is wrong with it. Quotes nothing.
    pub problem: String,
}

impl Repository {
    /// Keeps a new key.
    ///
    /// # Errors
    /// [`Error::Conflict`] if its id is taken, which random ids are not.
    pub async fn insert_api_key(&self, key: &ApiKey) -> Result<(), Error> {
        let row = ActiveModel {
            id: Set(key.id.as_str().to_owned()),
            application_id: Set(key.application.as_str().to_owned()),
            digest: Set(key.digest.as_bytes().to_vec()),
            permissions: Set(key.permissions.to_string()),
            created_at: Set(key.created_at.0),
            expires_at: Set(key.expires_at.map(|at| at.0)),
            revoked_at: Set(key.revoked_at.map(|at| at.0)),
        };
        let transaction = self.begin().await?;
        Entity::insert(row).exec_without_returning(&transaction).await?;
        Ok(transaction.commit().await?)
    }

    /// All keys, revoked and expired ones too, or those of one application; by application, then age.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn list_api_keys(&self, application: Option<&ApplicationId>) -> Result<ApiKeys, Error> {
        let mut query = Entity::find();
        if let Some(application) = application {
            query = query.filter(Column::ApplicationId.eq(application.as_str()));
        }
        let query = query.order_by_asc(Column::ApplicationId).order_by_asc(Column::CreatedAt).order_by_asc(Column::Id);
        self.api_keys(query.into_query()).await
    }

    /// A key, be it revoked or expired.
    ///
    /// # Errors
    /// When the database cannot be read, or the key.
    pub async fn find_api_key(&self, id: &ApiKeyId) -> Result<Option<ApiKey>, Error> {
        Entity::find_by_id(id.as_str()).one(self.watch()).await?.map(api_key).transpose()
    }

    /// The keys that are neither revoked nor expired.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn live_api_keys(&self) -> Result<ApiKeys, Error> {
        let unexpired = Condition::any().add(Column::ExpiresAt.is_null()).add(Column::ExpiresAt.gt(self.clock.now().0));
        self.api_keys(Entity::find().filter(Column::RevokedAt.is_null()).filter(unexpired).into_query()).await
    }

    async fn api_keys(&self, select: SelectStatement) -> Result<ApiKeys, Error> {
        let mut found = ApiKeys::default();
        for row in self.watch().query_all(&select).await? {
            match Model::from_query_result(&row, "").map_err(Error::from).and_then(api_key) {
                Ok(key) => found.keys.push(key),
                Err(error) => {
                    let id = row.try_get::<String>("", Column::Id.as_str()).ok().and_then(|id| ApiKeyId::parse(&id));
                    found.unreadable.push(UnreadableApiKey { id, problem: error.to_string() });
                }
            }
        }
        Ok(found)
    }

    /// Revokes a key, and says whether there is one. A key that was revoked before keeps its time.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn revoke_api_key(&self, id: &ApiKeyId, now: Timestamp) -> Result<bool, Error> {
        let revoked_at = Expr::col(Column::RevokedAt).if_null(now.0);
        let update = Entity::update_many().col_expr(Column::RevokedAt, revoked_at).filter(Column::Id.eq(id.as_str()));
        let transaction = self.begin().await?;
        let is_there = update.exec(&transaction).await?.rows_affected > 0;
        transaction.commit().await?;
        Ok(is_there)
    }
}

fn api_key(row: Model) -> Result<ApiKey, Error> {
    Ok(ApiKey {
        id: ApiKeyId::parse(&row.id).ok_or(Error::Corrupt("api_keys.id"))?,
        application: ApplicationId::parse(row.application_id).map_err(|_| Error::Corrupt("api_keys.application_id"))?,
        digest: ApiKeyDigest::from_bytes(row.digest.try_into().map_err(|_| Error::Corrupt("api_keys.digest"))?),
        permissions: row.permissions.parse().map_err(|_| Error::Corrupt("api_keys.permissions"))?,
        created_at: Timestamp(row.created_at),
        expires_at: row.expires_at.map(Timestamp),
        revoked_at: row.revoked_at.map(Timestamp),
    })
}
