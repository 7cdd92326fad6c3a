//! Who calls, and what that permits. Absent on purpose: how a caller proves who it is (`grpc::auth`).

use std::{fmt, str::FromStr};

use super::subject::{ApplicationId, Subject, UserToken};

/// Something an API key may be permitted to do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Permission {
    /// Export what is held about any user of the application.
    Export = 0,
    /// Delete the messages of any user of the application.
    DeleteMessages = 1,
    /// Erase scopes of any user of the application.
    ScopedDelete = 2,
    /// Import records about users of the application.
    Import = 3,
    /// See what was forgotten and soft-deleted. Permits nothing else.
    Admin = 4,
}

impl Permission {
    /// All permissions, in order.
    pub const ALL: [Self; 5] = [Self::Export, Self::DeleteMessages, Self::ScopedDelete, Self::Import, Self::Admin];

    /// The permission's name in configuration and in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Export => "export",
            Self::DeleteMessages => "delete-messages",
            Self::ScopedDelete => "scoped-delete",
            Self::Import => "import",
            Self::Admin => "admin",
        }
    }
}

/// The name of a permission that does not exist.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no permission; choose from export, delete-messages, scoped-delete, import, admin, or logs (the first two)")]
pub struct UnknownPermission(String);

/// A set of permissions. Its text form is their names, separated by commas; `logs` is read as `export,delete-messages`.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Permissions(u8);

impl Permissions {
    /// Whether the set holds `permission`.
    pub fn contains(self, permission: Permission) -> bool {
        self.0 & (1 << permission as u8) != 0
    }

    /// The set with `permission` added.
    #[must_use]
    pub fn with(self, permission: Permission) -> Self {
        Self(self.0 | (1 << permission as u8))
    }

    /// The set with `permission` taken away.
    #[must_use]
    pub fn without(self, permission: Permission) -> Self {
        Self(self.0 & !(1 << permission as u8))
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        permissions.into_iter().fold(Self::default(), Self::with)
    }
}

impl FromStr for Permissions {
    type Err = UnknownPermission;

    fn from_str(text: &str) -> Result<Self, UnknownPermission> {
        text.split(',').map(str::trim).filter(|name| !name.is_empty()).try_fold(Self::default(), |set, name| {
            if name == "logs" {
                return Ok(set.with(Permission::Export).with(Permission::DeleteMessages));
            }
            let permission = Permission::ALL.into_iter().find(|permission| permission.name() == name);
            permission.map(|permission| set.with(permission)).ok_or_else(|| UnknownPermission(name.to_owned()))
        })
    }
}

impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Permission::ALL.into_iter().filter(|permission| self.contains(*permission)).map(Permission::name).collect();
        f.write_str(&names.join(","))
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The authenticated caller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Principal {
    /// An API key of an application.
    ApiKey {
        /// The tenant whose key it is.
        application: ApplicationId,
        /// The key's public id, for logs.
        key_id: String,
        /// What it may do.
        permissions: Permissions,
    },
    /// One user of an application, by JWT.
    User {
        /// The tenant that the token's issuer is configured for.
        application: ApplicationId,
        /// The token's `sub`.
        user_token: UserToken,
    },
}

/// The caller is known but may not do this.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotPermitted {
    /// The key lacks a permission.
    #[error("this API key does not have the permission `{}`{}", .0.name(), or_elsewhere(*.0))]
    Lacks(Permission),
    /// A user asked for something only keys may do.
    #[error("a user may not do this; use an API key with the permission `{}`", .0.name())]
    KeysOnly(Permission),
    /// A user named another.
    #[error("a user may only name itself: `user_token` must be the token's `sub`")]
    AnotherUser,
}

/// Of calls that may have a listener of their own.
fn or_elsewhere(permission: Permission) -> &'static str {
    if permission == Permission::Admin { ", or the service answers calls that need it at another address" } else { "" }
}

impl Principal {
    /// The caller, who may not do `permission` here even if the key permits it.
    #[must_use]
    pub fn without(mut self, permission: Permission) -> Self {
        if let Self::ApiKey { permissions, .. } = &mut self {
            *permissions = permissions.without(permission);
        }
        self
    }

    /// The tenant the caller belongs to.
    pub fn application(&self) -> &ApplicationId {
        match self {
            Self::ApiKey { application, .. } | Self::User { application, .. } => application,
        }
    }

    /// Whether the caller may do `permission` at all, whoever it is done to.
    ///
    /// # Errors
    /// Why not.
    pub fn permits(&self, permission: Permission) -> Result<(), NotPermitted> {
        match self {
            Self::ApiKey { permissions, .. } if permissions.contains(permission) => Ok(()),
            Self::ApiKey { .. } => Err(NotPermitted::Lacks(permission)),
            Self::User { .. } => match permission {
                Permission::Export | Permission::DeleteMessages | Permission::ScopedDelete => Ok(()),
                Permission::Import | Permission::Admin => Err(NotPermitted::KeysOnly(permission)),
            },
        }
    }

    /// Makes the subject that `user_token` names, if the caller may do `permission` to it.
    ///
    /// # Errors
    /// Why not.
    pub fn authorise(&self, permission: Permission, user_token: UserToken) -> Result<Subject, NotPermitted> {
        self.permits(permission)?;
        match self {
            Self::User { user_token: own, .. } if *own != user_token => Err(NotPermitted::AnotherUser),
            _ => Ok(Subject::new(self.application().clone(), user_token)),
        }
    }
}
