//! The layers of configuration: flag, environment, file, default.
//!
//! Every flag of every command also reads its environment variable, and takes its default from the file. Paths in the file are relative to
//! the working directory, as they are in a flag. Absent on purpose: any list of settings; the commands are the list.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    path::PathBuf,
};

use clap::{
    Arg, ArgAction, Command, Parser,
    builder::{BoolishValueParser, StyledStr},
    error::{ContextKind, ContextValue, ErrorKind},
};
use toml::{Table, Value};

const FILE_FLAG: &str = "config";

/// Reads the command line of `C`, whose flags are completed from the environment and from the file that `--config` names.
///
/// # Errors
/// What is wrong with the flags or with the file, to be shown as `clap` does; also the help, when that was asked for.
pub fn parse<C: Parser>(arguments: impl IntoIterator<Item = OsString>) -> Result<C, clap::Error> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let mut command = C::command();
    let file = match file_named_in(&arguments) {
        None => SettingsFile::default(),
        Some(path) => SettingsFile::read(path, &command).map_err(|problem| command.error(ErrorKind::ValueValidation, problem))?,
    };
    command = file.complete(command);
    let matches = command.try_get_matches_from_mut(&arguments).map_err(|error| file.explain(error, &arguments))?;
    C::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// The settings file, as the flag or the environment names it. Read before anything else, because it decides what the rest means.
fn file_named_in(arguments: &[OsString]) -> Option<PathBuf> {
    let flag = format!("--{FILE_FLAG}");
    let mut arguments = arguments.iter().skip(1).take_while(|argument| *argument != "--");
    while let Some(argument) = arguments.next() {
        if *argument == *flag {
            return arguments.next().map(PathBuf::from);
        }
        if let Some(path) = argument.to_str().and_then(|text| text.strip_prefix(&flag)?.strip_prefix('=')) {
            return Some(path.into());
        }
    }
    env::var_os(variable(FILE_FLAG)).map(PathBuf::from)
}

/// The name in the environment of a flag.
fn variable(flag: &str) -> String {
    format!("USERDATA_{}", flag.replace('-', "_").to_uppercase())
}

/// The name in the file of a flag.
fn key(flag: &str) -> String {
    flag.replace('-', "_")
}

/// The settings of one file, known to fit the flags.
#[derive(Default)]
struct SettingsFile {
    path: PathBuf,
    settings: Table,
}

impl SettingsFile {
    fn read(path: PathBuf, command: &Command) -> Result<Self, String> {
        let text = fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        // The line itself is not shown: it may hold a password.
        let settings: Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error.span().and_then(|span| text.get(..span.start)).map_or(1, |before| before.matches('\n').count() + 1);
            format!("{}, line {line}: not valid TOML", path.display())
        })?;
        for (key, value) in &settings {
            fits(key, value, command).map_err(|problem| format!("{}: `{key}` {problem}", path.display()))?;
        }
        Ok(Self { path, settings })
    }

    /// Gives every flag of `command` and of its subcommands its environment variable and its value in the file.
    fn complete(&self, command: Command) -> Command {
        command.mut_args(|arg| self.complete_flag(arg)).mut_subcommands(|command| self.complete(command))
    }

    fn complete_flag(&self, mut arg: Arg) -> Arg {
        let Some(flag) = arg.get_long().map(str::to_owned) else {
            return arg;
        };
        if matches!(arg.get_action(), ArgAction::SetTrue) {
            arg = arg.value_parser(BoolishValueParser::new());
        }
        arg = arg.env(variable(&flag)).hide_env_values(true);
        match self.settings.get(&key(&flag)) {
            None => arg,
            Some(value) => {
                let hide = arg.get_action().takes_values();
                arg.default_values(texts(value)).required(false).hide_default_value(hide)
            }
        }
    }

    /// Says of a refused value which layer it comes from, if that is not the command line.
    fn explain(&self, mut error: clap::Error, arguments: &[OsString]) -> clap::Error {
        let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg) else {
            return error;
        };
        let Some(flag) = shown.strip_prefix("--").and_then(|flag| flag.split([' ', '=']).next()).map(str::to_owned) else {
            return error;
        };
        let origin = if arguments.iter().any(|argument| is_flag(argument, &flag)) {
            return error;
        } else if env::var_os(variable(&flag)).is_some() {
            format!("the value comes from the environment, {}", variable(&flag))
        } else if self.settings.contains_key(&key(&flag)) {
            format!("the value comes from `{}` in {}", key(&flag), self.path.display())
        } else {
            return error;
        };
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(origin)]));
        error
    }
}

fn is_flag(argument: &OsStr, flag: &str) -> bool {
    let name = argument.to_str().and_then(|argument| argument.strip_prefix("--")).map(|argument| argument.split('=').next());
    name == Some(Some(flag))
}

/// Whether a setting belongs to some flag, and its value has the shape that the flag needs.
fn fits(setting: &str, value: &Value, command: &Command) -> Result<(), &'static str> {
    let mut known = false;
    let mut commands = vec![command];
    while let Some(command) = commands.pop() {
        commands.extend(command.get_subcommands());
        for arg in command.get_arguments().filter(|arg| arg.get_long().is_some_and(|flag| flag != FILE_FLAG && key(flag) == setting)) {
            known = true;
            match (arg.get_action(), value) {
                (ArgAction::Append, Value::Array(values)) if values.iter().any(Value::is_array) => return Err("must not nest arrays"),
                (ArgAction::Append, _) | (ArgAction::SetTrue, Value::Boolean(_)) => {}
                (ArgAction::SetTrue, _) => return Err("must be true or false"),
                (_, Value::Array(_) | Value::Table(_)) => return Err("takes one value, not several"),
                _ => {}
            }
        }
    }
    if known { Ok(()) } else { Err("is no setting; see --help of the commands for their flags, and write `_` for `-`") }
}

/// A value as flags would give it: text as it is, tables inline.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(values) => values.iter().flat_map(texts).collect(),
        Value::String(text) => vec![text.clone()],
        other => vec![other.to_string()],
    }
}
