//! `userdata` exports and erases what an AI-agent platform holds about one of its users.
//!
//! One request, as data: metadata → principal → subject (the proof of permission) → domain request → operation → repository and vault →
//! report → response. Nothing turns back.
//!
//! | module | knows | never |
//! |---|---|---|
//! | [`domain`] | what things mean: subject, principal, scope, category, position, report | async, tonic, prost, sea-orm, serde |
//! | [`operations`] | one file per RPC: what happens, in which order | wire formats, SQL |
//! | [`grpc`] | tonic and prost: handlers, conversion, statuses, authentication, the client's documents | entities |
//! | [`repository`] | sea-orm: entities, queries, transactions | generated types |
//! | [`vault`] | `object_store` | the database |
//! | [`server`] | the composition root: build, run, drain | |
//! | [`telemetry`] | logs | |
//! | [`config`], [`cli`] | flags, environment, file; one file per subcommand | |

pub mod cli;
pub mod config;
pub mod domain;
mod fault;
pub mod grpc;
pub mod operations;
pub mod repository;
pub mod server;
pub mod telemetry;
pub mod vault;
